-- The settings of the gateway. `kengine::gateway` writes this file for your cluster. Times are in milliseconds.
return {
  -- The Redis of the cluster: `host` and `port`, or `host = "unix:/run/redis/redis.sock"`. A host name needs a
  -- `resolver` in nginx.conf. Optional: `user`, `password` and `database`; for TLS, `tls` with the name in the
  -- certificate, and `verify = true`.
  redis = { host = "127.0.0.1", port = 6379 },
  -- The prefix of the cluster's keys in Redis.
  prefix = "kengine",
  -- The paths of the nodes' WebSocket endpoints, and the pages of the nodes that players may see.
  sockets = { ["/ws"] = true },
  pages = { ["/"] = true },
  -- The query parameters that name the user and the room. Players of one room and connections of one user are sent to
  -- the same node.
  uid = "uid",
  room = "room",
  -- How long a room stays with its node after the last player was sent there.
  room_lifetime = 600000,
  -- The most seats that are reserved for one client address by requests that no node has answered yet.
  max_reservations_per_address = 64,
}
