"""`stepwell migrate`: bring a database of one's own to this version."""

from __future__ import annotations

from typing import Any

from jobs.cli.speech import Code, Complaint, err, log_on_stderr


def bring_up_to_date() -> dict[str, Any]:
    """Migrate the database the settings name; returns where it stands."""
    from store import migrate
    from store.errors import NotReady, Unreachable
    from store.settings import StoreSettings

    log_on_stderr()
    settings = StoreSettings()
    admin_url = settings.migration_url.get_secret_value()
    if not admin_url:
        raise Complaint(
            "No database is named; `stepwell up` looks after its private one by itself.",
            hint="set STEPWELL_DATABASE_URL, and STEPWELL_MIGRATION_DATABASE_URL to a login that "
            "may create roles",
        )
    try:
        with err.status("migrating the database"):
            status = migrate.upgrade(
                admin_url,
                runtime_url=settings.database_url.get_secret_value() or None,
                operator_url=settings.operator_url.get_secret_value() or None,
            )
    except Unreachable as error:
        raise Complaint(
            str(error), hint="check the address and that Postgres runs", code=Code.UNREACHABLE
        ) from None
    except NotReady as error:
        raise Complaint(str(error), code=Code.FAILED) from None
    return {"current": status.current, "head": status.head, "is_current": status.is_current}
