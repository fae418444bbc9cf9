# SPDX-License-Identifier: Apache-2.0
"""The demonstration: a backup and a restore on the sandbox front-end, proven byte for byte.

It looks at onebackup from outside only: a command that is run,
and what the API and the files then show.
"""
