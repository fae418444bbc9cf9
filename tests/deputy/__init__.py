# SPDX-License-Identifier: Apache-2.0
"""The confused deputy: a tenant tries to have onebackup, the cloud's root, do what the tenant may not."""
