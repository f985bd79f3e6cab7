"""Receive Alma's JOB_END webhooks, and let whoever waits for the run go on at once.

ALMA_API_KEY=… ALMA_REGION=eu ALMA_WEBHOOK_SECRET=… python examples/webhook_receiver.py
"""

from __future__ import annotations

import os

from aiohttp import web

from alma_async import AlmaClient, webhooks


def receiver(alma: AlmaClient, secret: str) -> web.Application:
    """The application: Alma registers with a GET, then reports with POSTs."""
    replays = webhooks.Replays()

    async def receive(request: web.Request) -> web.Response:
        try:
            if request.method == "GET":
                return web.Response(
                    body=webhooks.challenge_response(request.query), content_type="application/json"
                )
            body = await request.read()
            webhooks.verify_signature(body, request.headers.getall(webhooks.SIGNATURE, ()), secret)
            event = webhooks.parse_event(body)
            replays.take(event, now=alma.clock.wall())
        except webhooks.WebhookRefused as error:
            return web.Response(status=error.status or 400)
        await alma.jobs.ended(event.job_instance)
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/", receive), web.post("/", receive)])
    app.on_cleanup.append(lambda _: alma.aclose())
    return app


if __name__ == "__main__":
    web.run_app(receiver(AlmaClient.from_env(), os.environ["ALMA_WEBHOOK_SECRET"]), host="127.0.0.1")
