# SPDX-License-Identifier: Apache-2.0
"""Restore points as files over HTTP, for front-ends that know nothing of repositories."""
