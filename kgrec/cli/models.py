"""`kgrec models`: the models and the fields that --set takes."""

from __future__ import annotations

from typing import Any

from kgrec.cli.options import Json
from kgrec.cli.output import print_json


def models(as_json: Json = False) -> None:
    """List the models and the fields that --set takes."""
    import dataclasses

    from kgrec import models as folder

    listing = {
        name: {f.name: _shown(f) for f in dataclasses.fields(folder.find(name).Config)} for name in folder.names()
    }
    if as_json:
        print_json(listing)
        return
    for name, fields in listing.items():
        print(f"{name}: {', '.join(f'{field}={default}' for field, default in fields.items()) or 'no fields'}")


def _shown(field: Any) -> Any:
    import dataclasses

    return None if field.default is dataclasses.MISSING else field.default
