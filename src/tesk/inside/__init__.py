"""Open, list, make and delete below a task's folder, never led out of it by a link."""

from tesk.inside.folder import Found, Inside, delete_folder, kind
from tesk.inside.whole import whole_file

__all__ = ["Found", "Inside", "delete_folder", "kind", "whole_file"]
