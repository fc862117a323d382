"""Every default and limit, with its unit in its name and its reason beside it.

Sections follow the layers. A number that a user may change is the default of a configuration field; all
others are limits that keep a queue, a table, a body or a wait bounded.
"""

from __future__ import annotations

from typing import Final

# --- compatibility: fixed by the network that exists ------------------------------------------------------

PROTOCOL_VERSION: Final = "aicn/0.0.1"
"""Identify's protocol version; the reference sends the same."""

CHAT_PROXY_PROTOCOL: Final = "/chat-proxy/0.0.1"
"""Stream protocol that carries one HTTP exchange."""

INFERENCE_PROTOCOL: Final = "/aicn/inference/0.1.0"
"""Carries what `CHAT_PROXY_PROTOCOL` has no path for. The framing is the same; who speaks that one only would send
such a request to the wrong URL of its model server, and so must be able to refuse it."""

INFERENCE_PROTOCOLS: Final = (CHAT_PROXY_PROTOCOL, INFERENCE_PROTOCOL)
"""Both: what a node that serves models answers."""

KAD_PROTOCOL_SUFFIX: Final = "/kad/1.0.0"
"""Appended to `Routing.ProtocolPrefix`."""

# --- backends: the model servers on this machine ----------------------------------------------------------

BACKEND_CONNECT_TIMEOUT_S: Final = 10.0
"""Loopback answers in microseconds; ten seconds cover a server whose accept queue is full."""

BACKEND_IDLE_TIMEOUT_S: Final = 300.0
"""Longest silence of a model server: a cold image model may think for minutes before its first byte."""

BACKEND_KEEPALIVE_S: Final = 4.0
"""Below the 5 s after which common servers close an idle connection, so that none is used as it closes."""

BACKEND_MAX_CONNECTIONS: Final = 1_024
"""Open connections to all model servers together."""

BACKEND_READ_BUFFER_BYTES: Final = 262_144
"""Bytes of an answer held before reading pauses."""

HTTP_HEAD_MAX_BYTES: Final = 65_536
"""Longest start line and headers of one HTTP message."""

# --- streams: one HTTP exchange between two nodes ---------------------------------------------------------

STREAM_HEAD_TIMEOUT_S: Final = 30.0
"""From an inbound stream to its whole request head: generous for a relayed path, short for an idle attacker."""

REQUEST_BODY_MAX_BYTES: Final = 268_435_456
"""256 MiB: a large image edit with its mask; streamed through, never held whole by the answering node."""

# --- routing: which peer answers --------------------------------------------------------------------------

ROUTE_MAX_ATTEMPTS: Final = 3
"""Peers tried for one request before its first content byte: the third failure is rarely bad luck."""

ROUTE_ATTEMPTS_LIMIT: Final = 16
"""Most attempts that a configuration may ask for: beyond it one request could keep a whole network busy."""

ROUTE_RETRY_BUDGET: Final = 0.2
"""Attempts after the first as a share of all requests: a network that fails is not buried under repetitions."""

LIMIT_CONCURRENT: Final = 1_000
"""Requests of users under way in a node: each costs some 30 KB; all others wait for their turn."""

LIMIT_QUEUE_LENGTH: Final = 100
"""Requests of one key that may wait: enough for a batch job's burst, few enough to be served within the timeout."""

LIMIT_MOST: Final = 100_000
"""Largest number of requests that a limit may name."""

FIRST_BYTE_TIMEOUT_S: Final = 180.0
"""From a request to the head of its answer: what the reference allows a chat, prefill included."""

ANSWER_IDLE_TIMEOUT_S: Final = 180.0
"""Longest silence inside an answer. There is no limit on the whole: a long answer is a good answer."""

STREAM_OPEN_TIMEOUT_S: Final = 10.0
"""Opening a stream takes one round trip on a connection that stands, or a dial where none does."""

RTT_STEP_US: Final = 10_000
"""Peers whose round-trip times differ by less than 10 ms are equally near."""

RTT_UNKNOWN_US: Final = 100_000
"""A peer not measured yet ranks behind the near ones and before the far ones, so that it gets work at once."""

# --- names: projects, models, instances -------------------------------------------------------------------

NAME_MAX_BYTES: Final = 256
"""UTF-8 length of a project, model or instance name; a container id has 64, a path-like model name rarely 100."""

# --- registry: what this node serves ----------------------------------------------------------------------

MODEL_API_MAX_BYTES: Final = 1_024
"""Length of a model's URL; with `REGISTRY_MAX_MODELS` it keeps the heartbeat below `GOSSIP_MAX_BYTES`."""

REGISTRY_MAX_MODELS: Final = 512
"""Instances on one node. Each takes at most 256 + 256 + 256 + 1,024 bytes of the heartbeat and some framing:
0.93 MiB at the very worst, below the 1 MiB that gossip carries."""

# --- peers: what is known of the other nodes --------------------------------------------------------------

GOSSIP_MAX_BYTES: Final = 1_048_576
"""Largest gossip message of the network, 1 MiB."""

PEER_ELIGIBLE_S: Final = 600.0
"""A peer takes requests while it was heard in the last 10 min: three heartbeats of the usual 180 s may be lost."""

PEER_LISTED_S: Final = 43_200.0
"""Lists of projects, models and peers go back 12 h, as the reference's do."""

PEER_FORGOTTEN_S: Final = 86_400.0
"""A peer not heard for 24 h is deleted, as the reference does."""

DIRECTORY_MAX_PEERS: Final = 10_000
"""Peers remembered; at about 1 KB each 10 MB, and ten times the largest network seen."""

DIRECTORY_MAX_OFFERS: Final = 100_000
"""Instances remembered of all peers together: ten a peer, some 30 MB with names of common length."""

PEER_MAX_OFFERS: Final = 512
"""Instances remembered of one peer: as many as one of our own nodes can register."""

HEARTBEAT_BURST: Final = 20
"""Heartbeats taken from one peer at once; a reference node sends one whenever a request begins or ends."""

HEARTBEATS_PER_S: Final = 2.0
"""Heartbeats taken from one peer in the long run: twice what our nodes send at most."""

HEARTBEAT_MIN_GAP_S: Final = 1.0
"""Shortest time between two heartbeats of ours: changes in between are sent as one."""

REPLAY_MEMORY_S: Final = 3_600.0
"""How long the newest heartbeat of a silent peer bars older ones: far longer than a candidate lives, short
enough for a node whose clock was set back to be heard again."""

KNOWN_PEERS_MAX: Final = 1_000
"""Peers whose addresses are kept for the next start; the oldest go first."""

KNOWN_PEER_MAX_AGE_S: Final = 2_592_000.0
"""30 days: an address that has not answered for so long belongs to somebody else by now."""

KNOWN_PEERS_WRITE_DELAY_S: Final = 5.0
"""Connections come in bursts, one after another at every start; this gathers a burst into one write."""

KNOWN_PEER_MAX_ADDRS: Final = 8
"""Addresses kept of one peer, the latest first."""

KNOWN_ADDR_MAX_BYTES: Final = 512
"""Longest address kept: a relayed one with two peer ids has some 200 bytes."""

# --- api: what callers may send and what is held for them -------------------------------------------------

JSON_BODY_MAX_BYTES: Final = 33_554_432
"""32 MiB: a chat with several images inline. It is held whole, so that it can be sent to another peer."""

JSON_ANSWER_MAX_BYTES: Final = 67_108_864
"""64 MiB: several images as base64. A JSON answer is held whole, so that a cut one never looks like success."""

SSE_HELD_MAX_BYTES: Final = 65_536
"""Longest unfinished event that is held back; a longer one is passed on in parts. Bounds the copying that a
peer can cause by sending one byte at a time."""

API_MAX_CONNECTIONS: Final = 4_096
"""Open HTTP connections of a listener; beyond it those go that are idle, and while none is the answer is 503."""

OPEN_FILES_MAX: Final = 16_384
"""The process asks its system for so many open files: two listeners at their bound, and as much for all else. Half of
a TLS handshake takes some 60 kB until its time is up, so that more would be room for an attack."""

API_KEEPALIVE_S: Final = 75
"""Idle HTTP connections are kept as long as common reverse proxies keep theirs."""

SHUTDOWN_GRACE_S: Final = 5
"""Requests under way get this long to end before the node goes."""

API_HEAD_TIMEOUT_S: Final = 30.0
"""From a connection, or the first byte of a later request, to the end of the request's head."""

TLS_HANDSHAKE_TIMEOUT_S: Final = 10.0
"""From a connection to the end of its TLS handshake, which takes some round trips."""

LINGER_S: Final = 10.0
"""For what is left of a request's body after its answer, where the connection is to be closed."""

BODY_TIMEOUT_S: Final = 120.0
"""From the head of an HTTP request to the end of its body: 32 MiB over a slow line."""

STALL_TIMEOUT_S: Final = 120.0
"""A reader that takes nothing, or a writer that sends nothing of a message it has begun, for this long is gone: it
must not keep a model busy."""

LIST_DEFAULT_NUMBER: Final = 100
"""Entries in a list when the caller names no number."""

LIST_MAX_NUMBER: Final = 10_000
"""Entries in a list at most."""

# --- dialling: who is kept connected ----------------------------------------------------------------------

REDIAL_FIRST_S: Final = 1.0
"""First wait before a bootstrap peer is dialled again; doubles up to `REDIAL_LAST_S`."""

REDIAL_LAST_S: Final = 60.0
"""Longest wait before a bootstrap peer is dialled again: a restarted Input is found within a minute."""

RENDEZVOUS_FIRST_S: Final = 5.0
"""First wait between two looks into the DHT; doubles up to `RENDEZVOUS_LAST_S`."""

RENDEZVOUS_LAST_S: Final = 120.0
"""Longest wait between two looks into the DHT: a new Input is found by all Workers within minutes."""

RENDEZVOUS_MAX_PEERS: Final = 200
"""Peers dialled from one look into the DHT."""

DIAL_PARALLEL_MAX: Final = 16
"""Dials under way at once."""

DIAL_ADDRS_MAX: Final = 8
"""Addresses tried for one peer: a hostile provider record may list thousands."""

DIAL_REMEMBERED_MAX: Final = 200
"""Peers of earlier runs dialled at the start."""

BOOTSTRAP_MAX_ADDRS: Final = 256
"""Bootstrap addresses that can be added over HTTP: each is dialled for as long as the node runs."""

LOOPBACK_MAX_STREAMS: Final = 1_024
"""Requests of a node to its own models at once."""

HTTP_MAX_HEADERS: Final = 100
"""Headers of one HTTP message."""

CONNECTIONS_CHECK_S: Final = 5.0
"""Between two looks at connections that were too many, and too young or too busy to be closed."""

RELAYS_MAX: Final = 4
"""Relays through which a node is called at once: one may fail, and one more may be restarted meanwhile."""

RELAY_RETRY_FIRST_S: Final = 5.0
"""First wait before a relay that refused is asked again; doubles up to `RELAY_RETRY_LAST_S`."""

RELAY_RETRY_LAST_S: Final = 300.0
"""Longest wait before a relay that refused is asked again: full relays get room as others leave."""

# --- gossip: what one message may hold --------------------------------------------------------------------

GOSSIP_MAX_PARTS: Final = 20_000
"""Repeated entries in one message: several times what the largest honest node tells."""

STREAM_BUFFER_BYTES: Final = 262_144
"""Bytes held in each direction of a stream; the native core uses the same."""

# --- configuration: the file, and what it leaves out ------------------------------------------------------

CONFIG_MAX_BYTES: Final = 4_194_304
"""4 MiB: with the largest registry the file has 1 MB; whatever is larger was named by mistake."""

CONFIG_LOCK_TIMEOUT_S: Final = 10.0
"""Wait for another writer of the same file; one takes milliseconds, or a second on a tired disk."""

CONNECTIONS_HIGH_WATER: Final = 400
"""`Swarm.ConnMgr.HighWater` where the file has none, as in the reference."""

CONNECTIONS_LOW_WATER: Final = 100
"""`Swarm.ConnMgr.LowWater` where the file has none, as in the reference."""

DIAL_TIMEOUT_S: Final = 15.0
"""`Swarm.DialTimeout` where the file has none: TCP's second retransmission of a lost opening still fits."""

# --- log --------------------------------------------------------------------------------------------------

LOG_FILE_MAX_BYTES: Final = 104_857_600
"""100 MiB, then the file is put aside and a new one begun."""

LOG_FILES_KEPT: Final = 3
"""Files put aside that are kept; with the current one 400 MiB of disk at most."""

LOG_LINE_MAX_CHARS: Final = 16_384
"""Longest line: a deep traceback fits, and what a peer sent does not fill the disk by one line."""

LOG_WAIT_S: Final = 0.05
"""Longest time that a terminal or pipe nobody reads may hold up the event loop before lines are dropped."""

# --- metrics ----------------------------------------------------------------------------------------------

METRICS_MAX_MODELS: Final = 50
"""Models that are named in metrics; later ones count as `other`. Each takes some 100 lines of text, 5 KB."""

LOOP_LAG_INTERVAL_S: Final = 1.0
"""Between two measurements of how late the event loop is."""

# --- store ------------------------------------------------------------------------------------------------

STORE_KEY_MAX_BYTES: Final = 512
"""UTF-8 length of a namespace or key; the longest of ours is a peer id."""

STORE_VALUE_MAX_BYTES: Final = 1_048_576
"""Length of a value: a thousand times what we keep of one peer."""

STORE_NAMESPACE_MAX_ITEMS: Final = 100_000
"""Keys in one namespace: a hundred times the peers that are remembered."""

STORE_MAX_PENDING: Final = 1_024
"""Calls that wait for the writer thread; a caller beyond that waits before it takes a place."""

HISTORY_MAX_ENTRIES: Final = 100_000
"""`AICN.History.MaxEntries` where the file has none: some 20 MB, and a month of two requests a minute."""

HISTORY_ENTRIES_LIMIT: Final = 10_000_000
"""Largest `AICN.History.MaxEntries`: some 2 GB of disk."""

HISTORY_PENDING_MAX: Final = 10_000
"""Requests that wait to be written; those beyond are counted as lost, so that a slow disk slows no request."""

HISTORY_WRITE_DELAY_S: Final = 0.5
"""Requests end in bursts; this gathers them into one write, and a person looking sees them at once all the same."""

HISTORY_BATCH_MAX: Final = 1_000
"""Requests written, or deleted, in one transaction: some 10 ms of the writer thread, which others wait for."""

HISTORY_PRUNE_GAP_S: Final = 60.0
"""Between two looks for requests that are too old or too many."""

HISTORY_PROMPT_MAX_BYTES: Final = 16_384
"""Bytes kept of the words of one request: some 4,000 tokens; a longer one is cut."""

HISTORY_PROMPTS_MAX: Final = 10_000
"""Requests whose words are kept; with the longest of all 160 MiB of disk."""

HISTORY_NAME_MAX_CHARS: Final = 256
"""Characters kept of a name: a caller may ask for a model whose name is longer than any that exists."""

USAGE_MAX_BYTES: Final = 4_096
"""Longest `usage` object that is read; the longest known have some 500 bytes."""

STORE_QUARANTINED_MAX: Final = 3
"""Corrupt files that are kept for a look; the oldest is deleted beyond that."""

INBOUND_STREAMS_MAX: Final = 4_096
"""Inbound streams served at once; further ones are reset."""

TASK_STOP_TIMEOUT_S: Final = 5.0
"""A background task gets this long to finish what it has begun when the node stops."""

INTRODUCTION_GAP_S: Final = 5.0
"""Between two heartbeats that are sent only because peers have come: they reach everybody, not just those."""

# --- upkeep: what machine this is, and newer releases ---------------------------------------------------------

HARDWARE_TIMEOUT_S: Final = 5.0
"""Longest wait for the facts of a machine: they take 100 ms; a graphics driver that wakes its cards, seconds."""

HARDWARE_MAX_AGE_S: Final = 600.0
"""Facts are read again after 10 min: a driver that was installed meanwhile brings its cards with it."""

UPGRADE_MANIFEST_MAX_BYTES: Final = 262_144
"""256 KiB: one artefact for each kind of machine takes 250 bytes."""

UPGRADE_ARTEFACT_MAX_BYTES: Final = 536_870_912
"""512 MiB: aicn with all its packages takes 40 MiB."""

UPGRADE_UNPACKED_MAX_BYTES: Final = 2_147_483_648
"""2 GiB on the disk, for each of the two releases that are kept."""

UPGRADE_MAX_FILES: Final = 100_000
"""Files in a release; aicn with all its packages has some 3,000."""

UPGRADE_SILENCE_TIMEOUT_S: Final = 30.0
"""Longest silence of the server that releases come from."""

UPGRADE_DOWNLOAD_TIMEOUT_S: Final = 3_600.0
"""For one file: 40 MiB in an hour is a modem's speed."""

UPGRADE_APPLY_TIMEOUT_S: Final = 7_200.0
"""For manifest, artefact, unpacking and the first start together."""

UPGRADE_FIRST_START_TIMEOUT_S: Final = 60.0
"""For `aicn version` of a new release: a fifth of a second, and more while Python compiles it on a slow disk."""

UPGRADE_FIRST_LOOK_S: Final = 30.0
"""From the start of a node to its first look for a release: the start itself comes first."""

UPGRADE_QUIET_S: Final = 1.0
"""A node is idle when no request has been under way for 1 s: a conversation's next request often comes at once."""

UPGRADE_WAIT_TOLD_S: Final = 86_400.0
"""A release that waits for a node which is never idle is told of in the log once a day."""

UPGRADE_STOP_TIMEOUT_S: Final = 20.0
"""From the request to stop a release on trial to its hard end; a node grants its requests 5 s, twice."""

UPGRADE_MAX_ATTEMPTS: Final = 2
"""Trials that came to no end, by a power cut say: the second might be the release's own doing."""

# --- tools: commands that bring a host of their own -------------------------------------------------------

PING_PROTOCOL: Final = "/ipfs/ping/1.0.0"
"""libp2p's ping; every peer speaks it."""

PING_BYTES: Final = 32
"""Bytes of one ping, fixed by the protocol."""

PING_COUNT: Final = 5
"""Pings to a peer where `aicn tool ping` is told no number, as many as the reference's tool sends."""

PING_MAX_PEERS: Final = 100
"""Peers pinged by one command: each has a connection, a stream and a line on the screen."""

TOOL_PING_INTERVAL_S: Final = 86_400.0
"""Between the pings by which the host of a tool measures for itself: never again after the first, since a peer
keeps one ping stream of another and would end that of `aicn tool ping`."""

LOAD_MAX_REQUESTS: Final = 1_000_000
"""Requests of one `aicn tool load`: two times of 8 bytes are kept of each, 16 MB."""

LOAD_MAX_CONCURRENCY: Final = 1_000
"""Requests at once of one `aicn tool load`: a process may open 1,024 files where nobody has changed that."""

LOAD_LINE_MAX_BYTES: Final = 1_048_576
"""Longest line of an event stream that is waited for, 1 MiB: an event with an image may be long."""

LOAD_EXAMPLE_MAX_BYTES: Final = 300
"""What is kept of the first answer of each kind that says an error: a sentence."""

# --- questions over gossip: what is asked, what is answered -----------------------------------------------

GOSSIP_QUESTION_MAX_BYTES: Final = GOSSIP_MAX_BYTES - 4_096
"""Largest question or answer that is published: the frame around it (ids, signature, key, topic) counts towards the
1 MiB, and a longer frame makes a peer reset its gossip stream."""

ASK_INFO_TIMEOUT_S: Final = 120.0
"""Longest wait for the identity, hardware or models of a node, as in the reference."""

ASK_CHAT_TIMEOUT_S: Final = 180.0
"""Longest wait for a chat over gossip, as in the reference."""

ASK_IMAGE_TIMEOUT_S: Final = 300.0
"""Longest wait for images over gossip, as in the reference."""

LEGACY_PROBE_TIMEOUT_S: Final = 5.0
"""Longest wait for a sign of life from a node that cannot be dialled, before a request is sent to it over gossip."""

OWN_AGENT: Final = "AIComputingNode@aicn"
"""How identify's agent version of this program begins."""

ASK_MAX_PENDING: Final = 1_024
"""Questions of this node that wait for a reply."""

ASK_REMEMBERED: Final = 1_024
"""Questions that ended last: what still comes in reply to them is dropped unread."""

REFUSAL_MAX_CHARS: Final = 1_024
"""Characters kept of the text of an error reply: it ends up in answers and logs."""

QUESTION_ID_MAX_CHARS: Final = 64
"""Longest id of a question; a UUID has 36."""

QUESTION_BURST: Final = 64
"""Questions taken from one peer at once."""

QUESTIONS_PER_S: Final = 8.0
"""Questions taken from one peer in the long run: several times what the busiest reference Input measured asks."""

QUESTION_SOURCES_MAX: Final = 10_000
"""Peers whose questions are counted; those longest silent are forgotten, some 2 MB."""

QUESTION_IDS_REMEMBERED: Final = 50_000
"""Questions remembered so that none is answered twice, some 10 MB at worst."""

QUESTION_MAX_AGE_S: Final = 600.0
"""A question this much older than the newest of its sender, by the sender's own clock, was recorded and is sent
again; longer than gossip takes, shorter than ids are remembered."""

ANSWERING_MAX: Final = 256
"""Questions being answered at once. Most wait for a model server; each holds at most `GOSSIP_ANSWER_READ_MAX_BYTES`."""

ANSWERING_MAX_PER_PEER: Final = 64
"""Questions of one peer being answered at once."""

GOSSIP_ANSWER_READ_MAX_BYTES: Final = 4_194_304
"""Bytes read of a model server's JSON for an answer over gossip: with every letter escaped it may be several times
longer than what it says; what is still longer cannot fit."""

# --- images: requests and answers that are larger than others -----------------------------------------------

IMAGE_FIRST_BYTE_TIMEOUT_S: Final = 300.0
"""From the end of a request for images to the head of its answer: what the reference allows."""

DRAWN_IMAGES_MAX: Final = 10
"""Images of one request to a server that is asked in its own words: as many as OpenAI's API draws at most."""

DRAWN_PIXELS_MAX: Final = 16_777_216
"""... and pixels of all of them: 4096 x 4096. Beyond it, one request would keep a machine busy for hours."""

COMFYUI_POLL_S: Final = 0.25
"""From one look at whether an image is drawn to the next; drawing one takes seconds."""

COMFYUI_TAKE_BACK_TIMEOUT_S: Final = 5.0
"""For ComfyUI to be told that nobody waits for an image any more."""

UPLOAD_HELD_MAX_BYTES: Final = 2_097_152
"""2 MiB: a photo as phones send it. Up to there an upload is held, so that it can be sent to another peer."""

UPLOAD_TIMEOUT_S: Final = 1_800.0
"""From the held beginning of an upload to its end: the largest that is taken, at 150 KB/s."""

EDIT_ANSWER_HELD_MAX_BYTES: Final = 1_048_576
"""1 MiB: every error fits, and an answer up to there is whole or an error; a longer one is passed on as it comes."""

HELD_MAX_BYTES: Final = 268_435_456
"""256 MiB for the bodies and answers of all requests together: four of the largest answers at once."""

HELD_UNCOUNTED_BYTES: Final = 65_536
"""Of each request so much is not counted, so that large ones never keep small ones out; 256 MiB on all connections."""

HTTP_PROXY_PROTOCOL: Final = "/proxy-example/0.0.1"
"""Stream protocol of the reference's HTTP proxy: one request, one answer."""

HTTP_PROXY_MAX_EXCHANGES: Final = 256
"""Requests under way in one proxy; further ones are told 503. Each holds two sockets or streams and their buffers."""

# --- traces ------------------------------------------------------------------------------------------------

TRACES_PENDING_MAX: Final = 2_048
"""Spans that wait to be sent, some 2 KB each; more are dropped: a collector that is down must cost nobody anything."""

TRACES_EXPORT_TIMEOUT_S: Final = 5.0
"""For one batch of spans, and so for the stop of a node whose collector is gone."""

# --- streams of events to users ---------------------------------------------------------------------------

CONTINUE_MAX: Final = 3
"""How often one stream is continued elsewhere: a stream that breaks off a fourth time has another reason than nodes."""

CONTINUE_TEXT_MAX_CHARS: Final = 262_144
"""Text that is kept of a stream to continue it, more than any model writes at once; a longer one is not continued."""

PASSED_ERROR_MAX_BYTES: Final = 65_536
"""Of a model server's error that must become an event, since the head has left; only its message is told."""

# --- attempts, and when they end --------------------------------------------------------------------------

FIRST_CONTENT_HELD_MAX_BYTES: Final = 65_536
"""Of an answer that is held until its content begins: no preamble is as long, and a longer one is passed on."""

ROUTE_TOTAL_TIMEOUT_S: Final = 600.0
"""From a request to the first content of its answer, all attempts together: a long prefill at three nodes in turn."""

ROUTE_RETRY_FLOOR: Final = 10
"""Repetitions that time alone allows: the next request of a node with few of them may fail as well."""

ROUTE_RETRY_FLOOR_PER_S: Final = 0.5
"""How fast it does: a node that fails all of few requests asks others once more every two seconds."""

ROUTE_RETRY_SAVED: Final = 1_000
"""Most repetitions that requests save up: as many as may be under way when a node that has them all dies."""

REFUSAL_TIMEOUT_S: Final = 2.0
"""For the rest of a failed answer, kept in case that nobody answers better: it is short, and others wait for it."""

REFUSAL_KEPT_MAX_BYTES: Final = 65_536
"""Of a failed answer that is kept; a longer one says nothing that anybody reads."""

HEDGE_FACTOR: Final = 3.0
"""A second node is asked when the first is slower by so much than it usually is: few requests wait that long."""

HEDGE_MIN_S: Final = 0.05
"""... but never sooner: below it a second request costs more than the wait."""

# --- the gateway -------------------------------------------------------------------------------------------

SESSION_MAX_CHARS: Final = 256
"""Of what a client names a conversation by: ids of SDKs have some 40."""

SPOOLED_MAX_BYTES: Final = 4_294_967_296
"""4 GiB: what forms of one kind, whose model is named behind a large file, may have on the disk together."""

SPOOL_READ_BYTES: Final = 262_144
"""One read of a form that was put on the disk: large enough that the change of threads does not count."""

FORM_BEGINNING_BYTES: Final = 65_536
"""Of a form in which a Worker waits for the model's name before it sends the head on: SDKs write small fields first."""

# --- choosing among instances ------------------------------------------------------------------------------

BREAKER_FAILURES: Final = 3
"""Failures in a row after which an instance is left alone: two can be bad luck."""

BREAKER_PAUSE_S: Final = 2.0
"""First pause of an instance that fails: about what a model server takes to start again with its weights cached."""

BREAKER_PAUSE_MAX_S: Final = 60.0
"""Longest pause: a machine that comes back after a day gets work within a minute."""

BREAKER_TRIAL_S: Final = 30.0
"""How long the outcome of a request on trial is awaited before another one is sent."""

BREAKER_BUSY_S: Final = 0.5
"""How long an instance that has refused for want of room is passed over at first."""

BREAKER_BUSY_MAX_S: Final = 8.0
"""... and at most, when it goes on refusing without one good answer: a quota that is used up is no passing crowd."""

MEASURED_MAX_INSTANCES: Final = 20_000
"""Instances whose speed is remembered, some 300 bytes each: twice what one model of a large network has."""

MEASURED_FADES_S: Final = 60.0
"""Time in which two thirds of what was measured are forgotten: servers get other neighbours and other models."""

FIRST_CONTENT_GUESS_S: Final = 0.5
"""Time to the first content of a model of which nothing was measured yet."""

TOKEN_GUESS_S: Final = 0.02
"""Time per token of such a model."""

SLOW_READER_S: Final = 1.0
"""An answer that this node has read for so long without waiting for its peer, and for longer than it waited, went as
fast as its client took it: that says nothing of the instance."""

NEWCOMER_BONUS: Final = 0.8
"""What is new counts as somewhat faster than what is known, so that it gets work and is measured."""

USUAL_TOKENS: Final = 100
"""Tokens of an answer in the comparison of instances."""

FAILING_WEIGHT: Final = 4.0
"""How much more a request costs where all recent ones failed: the attempt, its timeout and another attempt."""

RELAY_COST_S: Final = 0.05
"""What a relay adds in the comparison: it is shared, limited, and may end."""

SESSIONS_MAX: Final = 10_000
"""Conversations whose instance is remembered, some 300 bytes each."""

SESSION_REST_S: Final = 1_800.0
"""After half an hour no server has a conversation in its cache."""

SESSION_COST_FACTOR: Final = 3.0
"""How much more than the best other the instance of a conversation may cost: about what reading it anew would."""

CHOOSE_DRAWS: Final = 8
"""Instances looked at by chance for two that can be asked; most can."""

CHOOSE_SCAN: Final = 256
"""Instances looked at in a row where chance found too few: bounds the time of a choice."""

CHOOSE_NODE_INSTANCES: Final = 16
"""Instances of one model at one node that take part in the draws: as many as one machine has graphics cards. A node
that tells of hundreds would be drawn nearly always."""

POOLS_MAX: Final = 1_024
"""Models whose instances are kept sorted by whether they are connected."""

POOL_SMALL: Final = 1_000
"""Instances of one model that are sorted anew as soon as one comes or goes: half a millisecond."""

POOL_KEPT_PER_INSTANCE_S: Final = 25e-6
"""How long more than that stay sorted as they are, for each of them: a quarter of a second for ten thousand, so that at
most a fiftieth of the time goes into sorting them."""

REFERENCE_STREAMS_MAX: Final = 60
"""Requests under way at a node of the reference: it takes 64 streams of a protocol from a peer and resets the rest."""

# --- keys and limits ---------------------------------------------------------------------------------------

KEYS_MAX: Final = 100_000
"""API keys of a node, some 500 bytes each in memory."""

KEYS_POLL_S: Final = 1.0
"""How often a node looks whether another process has changed its keys: a revoked key works for so long."""

KEY_MAX_CHARS: Final = 256
"""Longest key that is looked at; ours have 51 characters."""

LEDGER_WRITE_DELAY_S: Final = 1.0
"""Time in which what was used gathers before it is written: what a node that is killed forgets."""

LEDGER_PENDING_MAX: Final = 10_000
"""Sums by key, model and node that may wait while the disk does not take them."""

TOKEN_BYTES: Final = 4
"""Bytes of a request per token of its question, for the guess that is made before it is answered."""

TOKENS_GUESSED_MAX: Final = 32_768
"""Of one request, by its bytes: what is longer is mostly images, which have few tokens for their size."""

REQUEST_TOKENS_MAX: Final = 4_194_304
"""Most tokens that one question, or one answer, is believed to have: no model reads or writes that many."""

LEDGER_KEPT_DAYS: Final = 800
"""Days that the ledger goes back: two years, and some weeks to close the books of the second."""

LEDGER_PLACES_PER_DAY: Final = 50_000
"""Sums of one day by key, model and node, some 150 bytes each; what is beyond them is summed up by key alone."""

LEDGER_NAME_MAX_CHARS: Final = 256
"""Characters kept of a name; those of models of this program are shorter."""

# --- discovery of model servers ----------------------------------------------------------------------------

DISCOVERY_ASK_TIMEOUT_S: Final = 2.0
"""Silence of a model server that is asked what it is: these routes do no work, but its machine may."""

DISCOVERY_SERVER_TIMEOUT_S: Final = 10.0
"""To find out what listens on one port: a dozen questions at most."""

DISCOVERY_ANSWER_MAX_BYTES: Final = 4_194_304
"""4 MiB: the list of a server with a thousand models, each described at length."""

DISCOVERY_MAX_MODELS: Final = 512
"""Models of one server that are looked at: as many as a node may register."""

# --- models of this node -----------------------------------------------------------------------------------

NAME_LEFT_S: Final = 600.0
"""For how long a model that nobody names any more counts as away and not as unknown: a server starts in that time."""

NAMES_LEFT_MAX: Final = 1_024
"""Models that count as away; looked through when somebody asks for a name that is not there."""

HEALTH_TIMEOUT_S: Final = 5.0
"""For the answer of a model server that is asked whether it is there; the question costs it nothing."""

HEALTH_MISSES: Final = 2
"""Questions in a row that a server leaves without an answer until it is withdrawn; one may be bad luck."""

HEALTH_JITTER: Final = 0.2
"""Share of the interval that chance takes off it, so that the nodes of one machine do not ask in step."""

HEALTH_REST_S: Final = 1.0
"""Between two questions out of turn: failures come in crowds."""

HEALTH_PROBES_MAX: Final = 16
"""Servers asked at once."""

MODEL_CONCURRENT_MAX: Final = 1_000_000
"""Of `MaxConcurrent`: a number beyond it is a mistake."""

DRAIN_TIMEOUT_S: Final = 300.0
"""How long whoever drains a model waits for its requests: as long as an image may take to begin."""

TLS_POLL_S: Final = 5.0
"""How often a node looks whether its certificate was renewed: two calls of the file system."""
