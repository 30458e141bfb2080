"""`streamgauge notify`: one notifier, until a signal.

Only the command line; the worker is `sinks.notify.worker`.
"""

from typing import Final

import click

from infra.cli.failures import Failure, require_topics
from infra.runtime.settings import Settings
from schemas.topics import event_topic

_NO_RECEIVERS: Final = "Add a table such as [notify.receivers.pager]; see docs/notifications.md."


@click.command()
@click.pass_obj
def command(settings: Settings) -> None:
    """Deliver alerts to receivers, each incident once, until Ctrl-C.

    Receivers are the tables [notify.receivers.NAME] of the settings: Alertmanager, webhooks that
    take CloudEvents, Slack and what speaks likewise, PagerDuty. Their secrets come from the
    environment. Notifiers share the partitions of the topic and take over from one that ends.
    `/live`, `/ready` and `/metrics` are at runtime.health_port.
    """
    # The clients take a while to import: `streamgauge --help` should not wait for them.
    from infra.runtime.process import run

    run(_serve(settings))


async def _serve(settings: Settings) -> None:
    from infra.runtime.process import Runtime
    from sinks.notify import options
    from sinks.notify.worker import TOPICS, NotifyWorker

    if not options.receivers(settings.notify):
        raise Failure("there is no receiver to notify", _NO_RECEIVERS)
    options.silences(settings.notify)
    await require_topics(settings, [event_topic(kind, settings.topics.prefix) for kind in TOPICS])
    async with Runtime("notify", settings.runtime) as runtime:
        await NotifyWorker(settings, runtime).run()
