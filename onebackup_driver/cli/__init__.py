# SPDX-License-Identifier: Apache-2.0
"""The command line: one module per command, each with `register(parser)` next to the function it runs."""
