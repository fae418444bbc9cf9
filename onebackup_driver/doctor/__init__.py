# SPDX-License-Identifier: Apache-2.0
"""`onebackup doctor`: each prerequisite with ok, or what is wrong and how to fix it. One module for each part."""
