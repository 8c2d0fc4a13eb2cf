"""The flows of a shop, for `accord flows run tests.agents.shop_flows`."""

from accord.flows import count, flow, fold, hopping, sum_of

totals = (
    flow("totals")
    .of("paid", at="at")
    .filter(lambda paid: paid["amount"] >= 0)
    .by("room")
    .window(hopping(ms=400, every_ms=200), lateness_ms=100, late="side")
    .aggregate(n=count(), total=sum_of("amount"), seen=fold([], lambda seen, paid: [*seen, paid["id"]]))
    .since("start")
    .emit("room.told")
)
settled = flow("settled").of("ordered").join("paid", on="id", within_ms=500).since("start").emit("order.settled")
FLOWS = (totals, settled)
