"""experiments/mar8 replays a published session; it is collected only when named."""

collect_ignore = ["mar8"]
