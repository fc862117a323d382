"""Everything that a user of the reference relies on, row by row, with the tests that prove it.

A row is a promise: a command, a field, a property of the network, a message, a route, what a model server answers,
and what the reference gets wrong and this program must not. A test that is renamed or dropped is missed here.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from aicn.api.operations import OPERATIONS
from aicn.wire.messages import MessageType

from .test_config_documented import FIELDS

TESTS = Path(__file__).resolve().parents[1]

Rows = dict[str, tuple[str, ...]]

COMMAND_LINE: Rows = {
    "-peerkey": ("integration/test_cli.py::test_host_peerkey_makes_a_key_and_then_shows_it",),
    "key file": (
        "unit/identity/test_keys.py::test_published_example_gives_its_public_key_and_peer_id",
        "unit/identity/test_keys.py::test_key_file_is_made_once_and_read_back",
        "integration/test_cli.py::test_a_key_file_that_holds_no_key_is_not_written_over",
    ),
    "-psk": ("integration/test_cli.py::test_psk_is_another_one_each_time",),
    "-init": (
        "integration/test_cli.py::test_host_init_prints_the_lines_of_the_reference",
        "integration/test_cli.py::test_init_elsewhere_beside_what_is_there",
        "unit/config/test_create.py::test_a_key_that_is_there_is_used_and_taken_names_get_free_ones",
        "unit/config/test_create.py::test_ports_in_use_are_passed_over",
        "unit/config/test_create.py::test_it_is_written_in_the_shape_of_the_reference",
        "integration/test_cli_run.py::test_what_init_makes_runs_at_once",
    ),
    "a bad -init": ("integration/test_cli.py::test_what_is_refused_is_refused_in_one_line_and_makes_nothing",),
    "a bad configuration": (
        "integration/test_cli.py::test_a_bad_configuration_is_refused_and_left_as_it_is",
        "unit/config/test_load.py::test_messages_begin_as_those_of_the_reference_and_name_the_file",
    ),
    "no bootstrap peers: run alone": ("e2e/test_examples.py::test_a_model_is_registered_and_then_asked",),
    "-version, -h, one dash or two": (
        "integration/test_cli.py::test_version",
        "integration/test_cli.py::test_host_help_names_every_flag",
        "unit/cli/test_host_flags.py::test_flags_are_read_as_go_reads_them",
    ),
}

_SETTINGS = "unit/node/test_settings.py::test_setting_reaches_the_host"
_VALIDATED = "unit/config/test_validate.py::test_a_bad_value_is_refused_by_its_path"
_CONTROLLED = "e2e/test_controls.py::test_a_paused_model_takes_no_requests_until_it_is_resumed"
_REGISTERED = "e2e/test_registration.py::test_registrations_reach_the_input_and_the_file"

CONFIGURATION: Rows = {
    "Bootstrap": ("integration/test_dialer.py::test_bootstrap_peer_is_dialled_and_dialled_again_when_it_goes",),
    "Addresses": ("integration/test_host_contract.py::test_listens_where_it_says", "e2e/test_routes.py::test_id"),
    "API.Addr": ("integration/test_cli_run.py::test_the_port_of_the_api_is_taken",),
    "Identity.PeerID": (_VALIDATED, "e2e/test_routes.py::test_id"),
    "Identity.PrivKey": (
        "unit/config/test_validate.py::test_a_wrong_private_key_is_not_shown",
        "contract/test_secrets.py::test_the_configuration_file_hides_them",
    ),
    "Swarm.ConnMgr.Type": (
        "integration/test_settings_effects.py::test_no_connection_is_closed_without_a_manager_or_in_the_grace_period",
    ),
    "Swarm.ConnMgr.HighWater": (
        "integration/test_settings_effects.py::test_connections_above_the_high_water_mark_are_closed_and_who_serves_stays",
    ),
    "Swarm.ConnMgr.LowWater": (
        "integration/test_settings_effects.py::test_connections_above_the_high_water_mark_are_closed_and_who_serves_stays",
    ),
    "Swarm.ConnMgr.GracePeriod": (
        "integration/test_settings_effects.py::test_no_connection_is_closed_without_a_manager_or_in_the_grace_period",
    ),
    "Swarm.DisableNatPortMap": (_SETTINGS, "nat/test_port_mapping.py::test_router_is_left_alone_unless_mapping_is_on"),
    "Swarm.RelayClient.Enabled": (
        "integration/test_settings_effects.py::test_node_is_called_through_no_relay_unless_asked_to",
        "nat/test_behind_nat.py::test_worker_behind_nat_is_reached_through_a_relay",
    ),
    "Swarm.RelayClient.StaticRelays": (
        "integration/test_settings_effects.py::test_relay_client_is_called_through_its_relays_or_else_its_bootstrap_peers",
    ),
    "Swarm.RelayService.Enabled": (
        _SETTINGS,
        "unit/node/test_settings.py::test_node_type",
        "interop/test_services.py::test_a_worker_of_ours_does_not_claim_to_carry",
    ),
    "Swarm.EnableHolePunching": (
        "nat/test_behind_nat.py::test_hole_punching_makes_the_relayed_connection_direct",
        "nat/test_behind_nat.py::test_without_hole_punching_the_connection_stays_on_the_relay",
    ),
    "Swarm.EnableAutoNATService": (
        _SETTINGS,
        "interop/test_services.py::test_a_go_peer_that_asks_to_be_dialled_back_is_answered",
    ),
    "Swarm.DialTimeout": (
        _SETTINGS,
        "integration/test_native_host.py::test_peer_that_stays_silent_is_given_up_in_time",
    ),
    "Pubsub.Enabled": ("unit/config/test_document.py::test_gossip_is_on_whatever_the_file_says",),
    "Pubsub.Router": (_SETTINGS, "interop/test_gossip.py::test_both_ways"),
    "Pubsub.FloodPublish": (_SETTINGS,),
    "Routing.Type": (
        _SETTINGS,
        "interop/test_dht.py::test_clients_meet_through_our_server",
        "nat/test_reachability.py::test_host_learns_whether_it_is_public_and_serves_the_dht_only_then",
    ),
    "Routing.ProtocolPrefix": (_SETTINGS, "e2e/test_routes.py::test_id"),
    "App.LogLevel": ("unit/telemetry/test_log.py::test_levels",),
    "App.LogFile": (
        "unit/telemetry/test_log.py::test_the_file_is_the_owners_only_and_goes_on_after_a_restart",
        "unit/telemetry/test_log.py::test_a_large_file_is_put_aside",
    ),
    "App.LogOutput": ("unit/telemetry/test_log.py::test_all_outputs",),
    "App.PreSharedKey": (
        "interop/test_connections.py::test_another_network_is_refused",
        "interop/test_oracle.py::test_wrong_psk_is_refused",
    ),
    "App.TopicName": (_SETTINGS, "e2e/test_routes.py::test_rendezvous_finds_the_others"),
    "App.Datastore": (
        "integration/test_cli_run.py::test_the_datastore_is_in_use",
        "integration/test_cli_run.py::test_the_datastore_is_gone",
    ),
    "App.AutoUpgrade.Enabled": (
        "e2e/test_upgrade.py::test_a_good_release_is_taken_once_the_request_under_way_has_ended",
        "e2e/test_upgrade.py::test_a_node_whose_upgrades_are_off_is_one_process_and_asks_nobody",
    ),
    "App.AutoUpgrade.TimeInterval": (
        "e2e/test_upgrade.py::test_a_good_release_is_taken_once_the_request_under_way_has_ended",
    ),
    "App.PeersCollect.Enabled": (
        "integration/test_settings_effects.py::test_node_that_does_not_collect_says_so_and_chooses_for_nobody",
    ),
    "App.PeersCollect.HeartbeatInterval": (
        "integration/test_settings_effects.py::test_heartbeats_come_at_the_interval_of_the_file",
    ),
    "App.PeersCollect.ClientProject": (
        "integration/test_settings_effects.py::test_client_project_refuses_models_of_other_projects",
        "unit/node/test_links.py::test_who_is_let_in",
    ),
    "AIProjects[].Project": (_REGISTERED,),
    "AIProjects[].Models[].Model": (_REGISTERED,),
    "AIProjects[].Models[].API": (
        _REGISTERED,
        "unit/registry/test_registrar.py::test_a_configured_model_of_another_machine_is_kept_but_not_served",
    ),
    "AIProjects[].Models[].Type": ("e2e/test_images.py::test_model_is_asked_for_what_it_does",),
    "AIProjects[].Models[].CID": ("e2e/test_chat.py::test_named_node_and_instance_are_used",),
    "AICN.API.OpenInference": ("unit/api/test_access.py::test_inference_from_elsewhere_is_opened_by_a_setting_only",),
    "AICN.API.AllowedHosts": ("unit/api/test_access.py::test_reverse_proxy_on_this_machine_does_not_lend_its_rights",),
    "AICN.API.InferenceAddr": (
        "e2e/test_listeners.py::test_the_second_listener_answers_inference_to_keys_and_nothing_else",
    ),
    "AICN.API.TLSCertificate": ("e2e/test_listeners.py::test_a_certificate_covers_both_listeners_and_is_renewed",),
    "AICN.API.TLSKey": (
        "e2e/test_listeners.py::test_a_certificate_covers_both_listeners_and_is_renewed",
        "unit/api/test_tls.py::test_what_cannot_be_used_is_refused_at_the_start",
    ),
    "AICN.API.DefaultProject": ("unit/api/v1/test_names.py::test_a_model_is_found",),
    "AICN.Limits.MaxConcurrent": ("e2e/test_keys.py::test_a_node_at_its_limit_says_so",),
    "AICN.Limits.QueueLength": ("e2e/test_keys.py::test_a_node_at_its_limit_says_so",),
    "AICN.Limits.QueueTimeout": ("e2e/test_keys.py::test_a_node_at_its_limit_says_so",),
    "AICN.Traces.Endpoint": ("e2e/test_traces.py::test_one_trace_of_client_input_and_worker",),
    "AICN.Routing.MaxAttempts": ("e2e/test_failover.py::test_attempts_end_where_the_configuration_says",),
    "AICN.Routing.RetryBudget": (
        "e2e/test_failover.py::test_attempts_end_where_the_configuration_says",
        "unit/routing/test_attempts.py::test_repetitions_of_all_requests_together_are_bounded",
    ),
    "AICN.Routing.TotalTimeout": (
        "e2e/test_failover.py::test_time_to_the_first_content_ends_where_the_configuration_says",
        "unit/routing/test_attempts.py::test_time_to_the_first_content_is_bounded",
    ),
    "AICN.Routing.FirstByteTimeout": (
        "e2e/test_failover.py::test_a_node_without_a_first_byte_is_left_when_the_configuration_says",
    ),
    "AICN.Routing.Hedge": (
        "e2e/test_failover.py::test_slow_worker_is_overtaken_where_the_configuration_says",
        "unit/routing/test_hedging.py::test_slow_first_is_overtaken_and_cancelled",
    ),
    "AICN.Routing.KeepAlive": (
        "e2e/test_streams.py::test_comments_while_the_first_token_is_slow",
        "e2e/test_streams.py::test_a_failure_before_the_first_comment_has_its_status",
    ),
    "AICN.Routing.Continue": ("e2e/test_streams.py::test_broken_stream_goes_on_at_another_worker",),
    "AICN.Discovery.Enabled": ("integration/test_discovery.py::test_a_node_finds_its_neighbours",),
    "AICN.Discovery.Interval": ("integration/test_discovery.py::test_a_node_finds_its_neighbours",),
    "AICN.Discovery.Project": ("integration/test_discovery.py::test_a_node_finds_its_neighbours",),
    "AICN.Discovery.Include": ("integration/test_discovery.py::test_the_owner_chooses_and_names",),
    "AICN.Discovery.Exclude": ("integration/test_discovery.py::test_the_owner_chooses_and_names",),
    "AICN.Discovery.Names": ("integration/test_discovery.py::test_the_owner_chooses_and_names",),
    "AICN.Discovery.Ports": ("integration/test_discovery.py::test_a_node_finds_its_neighbours",),
    "AIProjects[].Models[].ServerModel": (
        "unit/serving/test_renaming.py::test_json",
        "sdk/test_python_models.py::test_the_project_in_a_name_decides",
    ),
    "AIProjects[].Models[].Paused": (_CONTROLLED,),
    "AIProjects[].Models[].MaxConcurrent": (
        "e2e/test_controls.py::test_a_full_model_sends_what_comes_beyond_elsewhere",
    ),
    "AICN.Health.Enabled": ("e2e/test_health.py::test_a_killed_model_server_gets_nothing_and_comes_back",),
    "AICN.Health.Interval": (
        "e2e/test_health.py::test_a_killed_model_server_gets_nothing_and_comes_back",
        "e2e/test_health.py::test_a_request_that_finds_a_dead_server_has_it_withdrawn_before_its_turn",
    ),
    "AICN.History.Enabled": ("e2e/test_history.py::test_nothing_is_kept_when_it_is_switched_off",),
    "AICN.History.Prompts": (
        "e2e/test_history.py::test_words_are_kept_where_they_are_wanted_and_deleted_when_they_are_not",
    ),
    "AICN.History.MaxAge": ("unit/store/test_history.py::test_what_is_too_old_goes",),
    "AICN.History.MaxEntries": ("unit/store/test_history.py::test_what_is_too_much_goes_the_oldest_first",),
    "AICN.Upgrade.Source": ("integration/test_upgrade_source.py::test_a_newer_release_is_made_ready_once",),
    "AICN.Upgrade.PublicKey": (
        "integration/test_upgrade_source.py::test_a_manifest_signed_with_another_key_is_refused",
    ),
    "AICN.Upgrade.HealthTimeout": (
        "e2e/test_upgrade.py::test_a_release_that_does_not_work_is_rolled_back_and_not_tried_again",
    ),
    "AICN.Upgrade.Probation": (
        "e2e/test_upgrade.py::test_a_release_that_does_not_work_is_rolled_back_and_not_tried_again",
    ),
}
"""Each key of the configuration, with a test of its effect."""

FILE: Rows = {
    "missing fields get the reference's defaults": (
        "unit/config/test_document.py::test_an_empty_file_has_the_defaults_of_the_reference",
    ),
    "what -init writes, by role": ("unit/config/test_create.py::test_what_is_made",),
    "Go durations": ("unit/config/test_durations.py::test_what_go_reads",),
    "keys are case-sensitive": ("unit/config/test_document.py::test_a_key_in_another_case_is_refused",),
    "unknown keys are kept": ("unit/config/test_load.py::test_keys_that_mean_nothing_and_the_order_are_kept",),
    "a file of the reference is taken": ("unit/config/test_load.py::test_a_file_of_the_reference_loads_as_it_is",),
    "replaced as a whole, one writer at a time": (
        "integration/test_config_durability.py::test_a_writer_killed_at_any_moment_leaves_a_whole_file",
        "integration/test_config_durability.py::test_writers_at_once_lose_nothing",
    ),
}

NETWORK: Rows = {
    "TCP, Noise, yamux, pre-shared key, secp256k1": (
        "interop/test_connections.py::test_we_dial",
        "interop/test_connections.py::test_we_are_dialled",
        "interop/test_connections.py::test_another_network_is_refused",
    ),
    "identify": (
        "interop/test_connections.py::test_identify",
        "interop/test_connections.py::test_identify_tells_the_key",
    ),
    "ping": ("interop/test_connections.py::test_ping_both_ways",),
    "AutoNAT": ("interop/test_services.py::test_a_go_peer_that_asks_to_be_dialled_back_is_answered",),
    "relay v2": (
        "interop/test_relays.py::test_a_go_relay_carries_to_our_worker",
        "interop/test_relays.py::test_our_relay_carries_to_our_worker_and_to_a_go_worker",
    ),
    "DCUtR": (
        "interop/test_services.py::test_a_go_peer_that_wants_to_punch_a_hole_is_answered",
        "nat/test_behind_nat.py::test_hole_punching_makes_the_relayed_connection_direct",
    ),
    "UPnP and NAT-PMP": (
        "nat/test_port_mapping.py::test_host_behind_nat_is_dialled_at_the_address_that_its_router_lends",
    ),
    "DHT and rendezvous": (
        "interop/test_dht.py::test_we_serve_and_go_asks",
        "interop/test_dht.py::test_go_serves_and_we_ask",
        "interop/test_dht.py::test_more_than_twenty_providers",
        "interop/test_oracle.py::test_rendezvous_from_client_through_server",
    ),
    "floodsub and gossipsub, 1 MiB": (
        "interop/test_gossip.py::test_both_ways",
        "interop/test_gossip.py::test_nearly_a_mebibyte",
        "interop/test_gossip.py::test_each_message_once_in_a_triangle",
    ),
    "stored peers are dialled": (
        "integration/test_dialer.py::test_remembered_peers_are_dialled",
        "unit/peers/test_persist.py::test_what_was_connected_is_there_after_a_restart",
    ),
    "connection gate": (
        "integration/test_connection_policies.py::test_gate_closes_who_is_not_welcome_and_judges_no_dial_of_ours",
    ),
}

WIRE: Rows = {
    "message numbers and bytes": (
        "unit/wire/test_golden.py::test_message_reencodes_to_the_same_bytes",
        "unit/wire/test_golden.py::test_every_kind_of_message_was_recorded",
        "unit/wire/test_protocol.py::test_generated_module_is_current",
        "contract/test_wire_documented.py::test_every_field_is_described_with_its_number",
    ),
    "PEER_IDENTITY": (
        "interop/test_gossip_asked.py::test_identity",
        "interop/test_gossip_asking.py::test_identity",
    ),
    "HOST_INFO": ("interop/test_gossip_asked.py::test_host_info", "interop/test_gossip_asking.py::test_host_info"),
    "AI_PROJECT": ("interop/test_gossip_asked.py::test_models", "interop/test_gossip_asking.py::test_models"),
    "CHAT_COMPLETION": ("interop/test_gossip_asked.py::test_chat", "interop/test_gossip_asking.py::test_chat"),
    "IMAGE_GENERATION": ("interop/test_gossip_asked.py::test_image", "interop/test_gossip_asking.py::test_image"),
    "sealing": (
        "unit/wire/test_golden.py::test_recorded_request_opens_for_its_receiver_only",
        "property/test_wire_properties.py::test_seal_opens_for_both_holders_and_for_nobody_else",
    ),
    "wallet passes": ("interop/test_gossip_asked.py::test_options_and_wallet_reach_the_model",),
    "an error reply": (
        "interop/test_gossip_asked.py::test_a_model_that_fails_is_an_error",
        "interop/test_gossip_asking.py::test_errors",
    ),
    "heartbeat": (
        "unit/peers/test_heartbeat.py::test_the_message_has_the_reference_s_form",
        "unit/peers/test_heartbeat.py::test_recorded_heartbeats_of_the_reference_are_read",
        "interop/test_reference_worker.py::test_the_heartbeat_is_that_of_the_network",
        "interop/test_reference_input.py::test_the_load_is_told",
    ),
    "node_type bits": ("unit/node/test_settings.py::test_node_type",),
    "10 minutes, 12 hours, 24 hours": (
        "unit/peers/test_directory.py::test_what_was_heard_counts_for_its_time",
        "unit/peers/test_records.py::test_standing_by_age",
    ),
    "a heartbeat counts only from its node, and not twice": (
        "unit/peers/test_inbox.py::test_nobody_speaks_for_another",
        "unit/peers/test_inbox.py::test_an_old_heartbeat_does_not_come_back",
    ),
    "one heartbeat a second at most": (
        "unit/peers/test_heartbeater.py::test_under_constant_change_there_is_one_a_second",
    ),
    "what is not sealed is refused": ("interop/test_gossip_asked.py::test_what_is_not_sealed_is_refused",),
    "a reply of the node asked only": ("interop/test_gossip_asking.py::test_a_reply_from_another_node_is_none",),
    "a reply over 1 MiB": ("interop/test_gossip_asked.py::test_a_reply_that_is_too_large_is_a_clean_error",),
    "chat over streams only, where the peer has them": (
        "integration/test_questions.py::test_our_own_nodes_get_no_chat_over_gossip",
    ),
    "/chat-proxy/0.0.1": (
        "interop/test_reference_input.py::test_heard_and_asked",
        "interop/test_reference_worker.py::test_listed_and_asked",
        "interop/test_chat_proxy_asked.py::test_json",
        "interop/test_chat_proxy_asking.py::test_json",
    ),
    "the model server's own path, remaining query": (
        "integration/test_serving.py::test_other_parameters_of_the_query_pass",
    ),
    "unknown model: reset": ("interop/test_reference_input.py::test_an_unknown_model_is_a_reset",),
    "b64 images and edits over streams": (
        "interop/test_images_asked.py::test_a_go_input_has_an_image_made",
        "interop/test_images_asked.py::test_a_go_input_has_an_image_edited",
        "interop/test_images_asking.py::test_a_go_worker_makes_an_image",
        "interop/test_images_asking.py::test_a_go_worker_edits_an_image",
    ),
}

_RECORDED_GET = "e2e/test_recorded_answers.py::test_get"
_RECORDED_POST = "e2e/test_recorded_answers.py::test_post"
_RECORDED_REGISTRATION = "e2e/test_recorded_answers.py::test_registration"
_RECORDED_BOOTSTRAP = "e2e/test_recorded_answers.py::test_bootstrap_peers_come_and_go"
_DESCRIBED = "e2e/test_openapi_fuzzing.py::test_every_answer_is_described"

_ASKED = "sdk/test_python_asks.py::test_coroutines_get_what_the_model_server_says"

ROUTES: Rows = {
    "POST /v1/chat/completions": (
        _ASKED,
        "sdk/test_python_streams.py::test_chunks_come_when_they_are_written",
        _DESCRIBED,
    ),
    "POST /v1/completions": (_ASKED, _DESCRIBED),
    "POST /v1/responses": (_ASKED, "sdk/test_python_streams.py::test_a_response_that_is_left_stops_the_model"),
    "POST /v1/messages": (
        "sdk/test_python_anthropic.py::test_coroutines_get_what_the_model_server_says",
        "sdk/test_python_errors.py::test_what_the_model_server_says_has_anthropics_class",
    ),
    "POST /v1/messages/count_tokens": (
        "sdk/test_python_anthropic.py::test_the_tokens_of_a_message_are_counted",
        _DESCRIBED,
    ),
    "POST /v1/embeddings": (_ASKED, _DESCRIBED),
    "POST /v1/images/generations": (_ASKED, _DESCRIBED),
    "POST /v1/images/edits": (_ASKED, "sdk/test_python_uploads.py::test_an_image_before_the_model"),
    "POST /v1/images/variations": (_ASKED, _DESCRIBED),
    "POST /v1/audio/transcriptions": (_ASKED, "sdk/test_python_uploads.py::test_the_model_is_named_after_the_file"),
    "POST /v1/audio/translations": (_ASKED, _DESCRIBED),
    "POST /v1/audio/speech": (_ASKED, "sdk/test_python_streams.py::test_speech_is_heard_while_it_is_made"),
    "GET /v1/models": ("sdk/test_python_models.py::test_every_model_is_listed_by_a_name_that_can_be_asked", _DESCRIBED),
    "GET /v1/models/{model}": ("sdk/test_python_models.py::test_a_name_with_or_without_its_project", _DESCRIBED),
    "GET /health": ("e2e/test_listeners.py::test_everybody_may_ask_whether_the_node_serves", _DESCRIBED),
    "GET /api/v0/id": (_RECORDED_GET, "e2e/test_routes.py::test_id"),
    "GET /api/v0/peers": (_RECORDED_GET, "e2e/test_routes.py::test_worker_without_peers_collect_has_no_list"),
    "POST /api/v0/peer": (
        _RECORDED_POST,
        "e2e/test_recorded_answers.py::test_answers_about_this_node_and_about_others_are_of_the_node_that_was_named",
    ),
    "POST /api/v0/host/info": (
        _RECORDED_POST,
        "unit/upkeep/test_hardware.py::test_every_field_of_the_answer_has_a_reader",
    ),
    "GET /api/v0/rendezvous/peers": (_RECORDED_GET, "e2e/test_routes.py::test_rendezvous_finds_the_others"),
    "GET /api/v0/swarm/peers": (_RECORDED_GET, "e2e/test_routes.py::test_peers_of_every_kind"),
    "GET /api/v0/swarm/addrs": (_RECORDED_GET, "e2e/test_routes.py::test_peers_of_every_kind"),
    "POST /api/v0/swarm/connect": ("e2e/test_bootstrap.py::test_connect_and_disconnect", _RECORDED_POST),
    "POST /api/v0/swarm/disconnect": ("e2e/test_bootstrap.py::test_connect_and_disconnect", _RECORDED_POST),
    "GET /api/v0/pubsub/peers": (_RECORDED_GET, "e2e/test_routes.py::test_peers_of_every_kind"),
    "GET /api/v0/ai/projects/list": (_RECORDED_GET, "e2e/test_routes.py::test_lists"),
    "GET /api/v0/ai/projects/models": (_RECORDED_GET, "e2e/test_routes.py::test_lists"),
    "GET /api/v0/ai/projects/peers": (_RECORDED_GET, "e2e/test_routes.py::test_lists"),
    "POST /api/v0/ai/project/register": (_RECORDED_REGISTRATION, _REGISTERED),
    "POST /api/v0/ai/project/unregister": (_RECORDED_REGISTRATION, _REGISTERED),
    "POST /api/v0/ai/model/register": (
        _RECORDED_REGISTRATION,
        "e2e/test_registration.py::test_registration_survives_a_kill",
        "e2e/test_routes.py::test_model_elsewhere_is_refused_and_nothing_changes",
        "unit/registry/test_address.py::test_urls_of_this_machine_pass",
    ),
    "GET /api/v0/ai/model/list": (
        _CONTROLLED,
        "e2e/test_health.py::test_a_killed_model_server_gets_nothing_and_comes_back",
    ),
    "POST /api/v0/ai/model/pause": (_CONTROLLED,),
    "POST /api/v0/ai/model/resume": (_CONTROLLED,),
    "POST /api/v0/ai/model/drain": ("e2e/test_controls.py::test_who_drains_is_answered_when_nothing_is_under_way",),
    "POST /api/v0/ai/model/cap": ("e2e/test_controls.py::test_a_full_model_sends_what_comes_beyond_elsewhere",),
    "POST /api/v0/ai/model/rename": ("e2e/test_controls.py::test_a_renamed_model_is_found_by_its_new_name_only",),
    "POST /api/v0/ai/model/unregister": (_RECORDED_REGISTRATION, _REGISTERED),
    "POST /api/v0/ai/project/peer": (_RECORDED_POST, "unit/api/test_nodes.py::test_another_node"),
    "POST /api/v0/chat/completion": (_RECORDED_POST, "e2e/test_chat.py::test_named_node_and_instance_are_used"),
    "POST /api/v0/chat/completion/proxy": (
        _RECORDED_POST,
        "e2e/test_chat.py::test_answer_is_the_model_servers_own_bytes",
        "e2e/test_chat.py::test_stream_is_the_model_servers_own_bytes",
    ),
    "POST /api/v0/image/gen": (_RECORDED_POST, "e2e/test_images.py::test_images_come_as_urls"),
    "POST /api/v0/image/gen/proxy": (_RECORDED_POST, "e2e/test_images.py::test_images_come_in_base64"),
    "POST /api/v0/image/edit": ("e2e/test_images.py::test_node_draws_and_edits_itself", _DESCRIBED),
    "POST /api/v0/image/edit/proxy": (
        "e2e/test_images.py::test_form_passes_byte_for_byte",
        "e2e/test_uploads.py::test_large_edit_passes_exactly_and_in_little_memory",
    ),
    "GET /api/v0/bootstrap/list": (_RECORDED_GET, _RECORDED_BOOTSTRAP),
    "POST /api/v0/bootstrap/add": (
        "e2e/test_bootstrap.py::test_a_bootstrap_peer_that_is_added_is_kept_and_dialled_again",
        "e2e/test_bootstrap.py::test_a_dial_that_fails_changes_nothing_and_says_why",
    ),
    "POST /api/v0/bootstrap/rm": (
        _RECORDED_BOOTSTRAP,
        "e2e/test_bootstrap.py::test_a_bootstrap_peer_that_is_removed_is_let_go_and_stays_removed",
    ),
    "GET /api/v0/debug/metrics/prometheus": ("e2e/test_history.py::test_metrics_count_what_happened",),
    "GET /openapi.json": (_DESCRIBED, "unit/api/test_openapi.py::test_every_route_is_described_and_nothing_else_is"),
    "GET /docs": ("unit/api/test_openapi.py::test_the_page_shows_every_route_and_loads_nothing",),
}
"""Each route of the application."""

ANSWERS: Rows = {
    "codes and statuses": (
        "unit/api/test_errors.py::test_every_error_has_an_answer",
        "contract/test_documents.py::test_every_code_of_the_api_is_described",
    ),
    "a failed chat has the recorded shape": ("unit/api/test_errors.py::test_chat_error_has_the_recorded_shape",),
    "node_id may be the node itself": (
        "unit/api/test_nodes.py::test_this_node_answers_without_gossip",
        "e2e/test_chat.py::test_input_serves_its_own_models_too",
        "e2e/test_images.py::test_node_draws_and_edits_itself",
    ),
    "several instances by cid; the same key updates": (
        "unit/registry/test_registrar.py::test_the_same_key_updates_in_place",
        "unit/registry/test_registrar.py::test_equally_busy_instances_take_turns",
    ),
    "info calls end in time": ("unit/api/test_nodes.py::test_node_that_does_not_answer",),
}

MODEL_SERVERS: Rows = {
    "chat, whole and streamed": (
        "e2e/test_real_model.py::test_chat_is_the_same_whole_and_streamed",
        "e2e/test_model_api_document.py::test_the_example_of_a_model_server_is_answered_as_it_says",
    ),
    "image generation": (
        "e2e/test_images.py::test_images_come_in_base64",
        "e2e/test_model_api_document.py::test_the_example_of_a_model_server_is_answered_as_it_says",
    ),
    "image edit": (
        "e2e/test_images.py::test_form_passes_byte_for_byte",
        "e2e/test_model_api_document.py::test_the_example_of_a_model_server_is_answered_as_it_says",
    ),
    "code other than 0 is a failure whatever the status": (
        "e2e/test_chat.py::test_code_in_a_successful_answer_is_a_failure",
        "unit/wire/test_model_json.py::test_failures_of_a_model_server",
    ),
    "roles and parts of content pass": (
        "e2e/test_chat.py::test_request_reaches_the_model_server_untouched_but_for_routing",
    ),
}

RIGHT_ANSWERS: Rows = {
    "1. every event at once": (
        "e2e/test_chat.py::test_events_leave_one_by_one",
        "interop/test_reference_worker.py::test_events_arrive_at_once_and_a_client_that_leaves_is_told",
    ),
    "2. a client that goes away stops the model": (
        "e2e/test_failures.py::test_client_that_goes_away_stops_the_model",
        "e2e/test_real_model.py::test_client_that_leaves_stops_the_model",
        "e2e/test_images.py::test_client_that_goes_away_stops_the_model",
        "e2e/test_uploads.py::test_client_that_leaves_while_the_model_thinks_stops_it",
    ),
    "3. another Worker is tried": (
        "e2e/test_failures.py::test_failing_model_server_is_left_for_another",
        "e2e/test_failures.py::test_worker_killed_before_its_answer_is_left_for_another",
        "unit/routing/test_router.py::test_three_are_tried_and_no_more",
    ),
    "4. a cut stream does not look complete": (
        "e2e/test_failures.py::test_cut_stream_ends_with_an_error_event",
        "e2e/test_failures.py::test_stream_without_done_is_told_apart_from_a_whole_one",
        "e2e/test_failures.py::test_cut_json_answer_is_no_success",
    ),
    "5. no field is dropped": (
        "e2e/test_chat.py::test_request_reaches_the_model_server_untouched_but_for_routing",
        "e2e/test_chat.py::test_answer_is_the_model_servers_own_bytes",
        "e2e/test_images.py::test_fields_pass_untouched_but_for_routing",
        "unit/wire/test_model_json.py::test_a_temperature_of_zero_is_not_none",
    ),
    "6. a charset is no error, a model's error no success": (
        "e2e/test_chat.py::test_charset_in_the_content_type_is_no_error",
        "e2e/test_chat.py::test_error_of_the_model_server_is_passed_on_as_it_is",
        "e2e/test_images.py::test_charset_is_no_error",
    ),
    "7. every Worker gets work": (
        "unit/routing/test_selector.py::test_equals_share_the_work",
        "unit/routing/test_simulation.py::test_every_one_of_a_hundred_gets_work",
    ),
    "8. a new Worker gets streams at once": (
        "integration/test_questions.py::test_node_that_has_not_said_what_it_speaks_is_tried_first",
        "interop/test_reference_input.py::test_a_model_registered_later_is_told",
    ),
    "9. a dead Worker costs nothing": (
        "e2e/test_failures.py::test_dead_worker_costs_no_request",
        "e2e/test_failures.py::test_worker_that_stops_says_goodbye",
    ),
    "10. two identical replies harm nothing": (
        "unit/p2p/test_rpc.py::test_same_reply_twice_harms_nothing",
        "interop/test_gossip_asking.py::test_a_reply_that_comes_twice_counts_once",
    ),
    "11. a lost message holds up no request": (
        "integration/test_questions.py::test_our_own_nodes_get_no_chat_over_gossip",
        "integration/test_questions.py::test_silence_of_an_old_node_is_a_timeout",
        "integration/test_fifty_nodes.py::test_fifty_whole_nodes_answer_chats",
    ),
    "12. two edits never mix": ("e2e/test_images.py::test_two_edits_at_once_never_mix_when_one_fails",),
    "13. nobody overwrites another's entry": ("unit/peers/test_inbox.py::test_nobody_speaks_for_another",),
    "14. what an operator may do is not open with inference": (
        "unit/api/test_access.py::test_elsewhere_never_reaches_an_admin_route",
        "unit/api/test_openapi.py::test_who_may_use_a_route_is_what_the_gate_lets_in",
    ),
    "15. prompts and internal URLs stay inside": (
        "e2e/test_history.py::test_no_words_are_kept_unless_they_are_wanted",
        "unit/peers/test_heartbeat.py::test_urls_stay_here_unless_they_are_to_be_revealed",
        "interop/test_reference_input.py::test_the_model_servers_address_stays_inside",
        "integration/test_backends.py::test_nobody_there_is_unreachable_and_the_address_stays_private",
    ),
}
"""What users of the reference get wrong answers from, and ours."""

PARTS = {
    "command line": COMMAND_LINE,
    "configuration": CONFIGURATION,
    "configuration file": FILE,
    "network": NETWORK,
    "wire": WIRE,
    "routes": ROUTES,
    "answers": ANSWERS,
    "model servers": MODEL_SERVERS,
    "right answers": RIGHT_ANSWERS,
}


@functools.cache
def names_in(path: str) -> frozenset[str]:
    """Return the names of the tests in a file, read and not run."""
    tree = ast.parse((TESTS / path).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


@pytest.mark.parametrize(
    ("row", "proofs"),
    [pytest.param(row, proofs, id=f"{part}: {row}") for part, rows in PARTS.items() for row, proofs in rows.items()],
)
def test_what_proves_a_row_is_there(row: str, proofs: tuple[str, ...]) -> None:
    assert proofs, row
    for proof in proofs:
        path, _, name = proof.partition("::")
        assert name in names_in(path), proof


def test_every_key_of_the_configuration_is_a_row() -> None:
    assert sorted(CONFIGURATION) == sorted(FIELDS)


def test_every_route_is_a_row() -> None:
    assert sorted(ROUTES) == sorted(f"{each.method} {each.path}" for each in OPERATIONS)


def test_every_kind_of_message_is_a_row() -> None:
    assert {kind.name for kind in MessageType} <= set(WIRE)


def test_the_fifteen_right_answers_are_there() -> None:
    assert [int(row.partition(".")[0]) for row in RIGHT_ANSWERS] == list(range(1, 16))
