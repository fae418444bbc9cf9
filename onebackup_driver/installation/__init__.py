# SPDX-License-Identifier: Apache-2.0
"""The installation on a front-end: what install.sh does once there is a Python for it.

Modules imported before the virtual environment exists (locating, receipt) need nothing but Python.
"""
