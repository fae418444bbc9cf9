# SPDX-License-Identifier: Apache-2.0
"""The temporary template and images of a run: they carry its id in their names and are removed by it."""

from __future__ import annotations

from typing import Optional

from onebackup_driver import clock, cloud, errors, states, waiting, xml_values
from onebackup_driver.context import Context

#: States in which one.image.delete is refused (opennebula.md 4.2).
_IN_USE = (states.IMAGE_USED, 6, states.IMAGE_USED_PERSISTENT, 9, 10)


def remove(context: Context, run: str) -> None:
    """Delete every template and image of the run and see them gone. Raises Failed or FrontEndError."""

    def look() -> Optional[bool]:
        found = cloud.made_by(context, "template", run)
        for template_id in found:
            context.log.info("Deleting template %s", template_id)
            _delete_template(context, template_id)
        return None if found else True

    waiting.until(look, context.timeouts.undo_s, f"the temporary template of run {run} could not be deleted")
    remove_images(context, run)


def _delete_template(context: Context, template_id: int) -> None:
    try:
        _gone_is_fine(context, "one.template.delete", template_id, False)
    except errors.NotAuthorized as error:
        what = f"temporary template {template_id} cannot be deleted ({error})"
        raise errors.NeedsAttention(what, f"onetemplate unlock {template_id}") from error


def remove_images(context: Context, run: str) -> None:
    """Delete every image of the run and see them gone."""

    def look() -> Optional[bool]:
        found = cloud.made_by(context, "image", run)
        for image_id in found:
            _remove_image(context, image_id)
        return None if found else True

    waiting.until(look, context.timeouts.undo_s, f"the temporary images of run {run} could not be deleted")


def _remove_image(context: Context, image_id: int) -> None:
    """A LOCKED image is waited for: something is still written into it. One that stays so was given up by oned."""
    asked, patience_ends = False, clock.monotonic() + context.timeouts.undo_s / 2

    def look() -> Optional[bool]:
        nonlocal asked
        try:
            state = xml_values.number(cloud.image(context, image_id), "STATE")
        except errors.NoSuchObject:
            return True
        if state == states.IMAGE_ERROR and asked:
            raise errors.Failed(
                f"the datastore could not delete image {image_id}; look at /var/log/one/oned.log and delete it with:"
                f" oneimage delete {image_id}"
            )
        if state in _IN_USE or state == states.IMAGE_DELETE or asked:
            return None
        if state != states.IMAGE_LOCKED:
            asked = _gone_is_fine(context, "one.image.delete", image_id)
        elif clock.monotonic() > patience_ends:
            asked = _delete_by_force(context, image_id)
        return None

    waiting.until(look, context.timeouts.undo_s, f"temporary image {image_id} could not be deleted")


def _delete_by_force(context: Context, image_id: int) -> bool:
    """Delete an image that stays LOCKED: 7.x wants to be told `force`, 6.x does not know the word (fault -5xx)."""
    try:
        return _gone_is_fine(context, "one.image.delete", image_id, True)
    except errors.CallRefused as error:
        if error.code >= 0:
            raise
        return _gone_is_fine(context, "one.image.delete", image_id)


def _gone_is_fine(context: Context, method: str, *arguments: object) -> bool:
    try:
        context.front_end.repeat(method, *arguments)
    except errors.NoSuchObject:
        pass
    return True
