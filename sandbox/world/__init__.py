# SPDX-License-Identifier: Apache-2.0
"""Real files and processes behind the sandbox front-end.

Nothing in here knows of XML-RPC, pools or states: the state machines call it from their worker threads.
"""
