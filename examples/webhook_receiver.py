"""Wake who waits for a job run by Alma's JOB_END webhook: give ``receiver`` the client that waits."""

from aiohttp import web

from alma_async import AlmaClient, webhooks


def receiver(alma: AlmaClient, *secrets: str) -> web.Application:
    """Alma registers with a GET and reports with POSTs. Two secrets while one is replaced; none: ALMA_WEBHOOK_SECRET's."""
    replays = webhooks.Replays()

    async def receive(request: web.Request) -> web.Response:
        try:
            if request.method == "GET":
                return web.json_response(body=webhooks.challenge_response(request.query))
            body = await request.read()
            webhooks.verify_signature(body, request.headers.getall(webhooks.SIGNATURE, ()), *secrets)
            replays.take(event := webhooks.parse_event(body), now=alma.clock.wall())
        except webhooks.WebhookRejected as error:
            return web.Response(status=error.status or 400)
        try:
            await alma.jobs.ended(event.job_instance)
        except Exception:
            replays.give_back(event)  # the status is 500 then, and Alma sends it again
            raise
        return web.Response()

    (app := web.Application()).add_routes([web.get("/", receive), web.post("/", receive)])
    return app
