# SPDX-License-Identifier: Apache-2.0
"""What the front-end's hooks do: each module handles one event, within a second; main.run is the door of all."""
