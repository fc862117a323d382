"""Helpers of the tests: a programmable model server and real `aicn` processes."""
