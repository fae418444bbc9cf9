# SPDX-License-Identifier: Apache-2.0
"""An OpenNebula front-end emulator for development and demonstration. Never for production."""
