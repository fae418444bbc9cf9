# SPDX-License-Identifier: Apache-2.0
"""onebackup: VM backup for OpenNebula."""

__version__ = "0.1.0"
