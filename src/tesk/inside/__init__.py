"""Open, list, make and delete below a task's folder, never led out of it by a link."""

from tesk.inside.folder import Found, Inside, delete_folder, kind

__all__ = ["Found", "Inside", "delete_folder", "kind"]
