-- What the gateway has to know; `kengine::gateway` writes this file for a cluster of yours. Times are in milliseconds.
return {
  -- The Redis of the cluster: `host` and `port`, or `host = "unix:/run/redis/redis.sock"`; a host's name takes a
  -- `resolver` in nginx.conf. With `user`, `password` and `database` where it needs them; under TLS with `tls`, the
  -- name in its certificate, and `verify = true`.
  redis = { host = "127.0.0.1", port = 6379 },
  -- What the names of the cluster's keys begin with.
  prefix = "kengine",
  -- The paths at which nodes serve WebSockets, and the pages of theirs that players may see.
  sockets = { ["/ws"] = true },
  pages = { ["/"] = true },
  -- The parameters of the query that name the user and the room, for those who are to meet on one node.
  uid = "uid",
  room = "room",
  -- For how long a room stays with its node after somebody was last sent there.
  room_lifetime = 600000,
}
