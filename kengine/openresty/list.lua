-- Lists the nodes. Runs inside Redis and writes nothing.
--
-- KEYS: `{prefix}:lease`. The keys of single nodes have the same prefix.
-- Returns two tables: the addresses of the nodes that take players, full ones included, which are those that are ready
-- and have a valid lease; and of every node with a valid lease its tag, followed by its address, or by `-` if it
-- drains: then another node gets the sessions of its players. The tag is the part of its boot id that the tokens of its
-- players begin with.
local lease = KEYS[1]
local prefix = lease:sub(1, -#'lease' - 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('HGETALL', lease)
local listed, tagged = {}, {}
for i = 1, #leases, 2 do
  local address, expiry = leases[i], tonumber(leases[i + 1])
  if expiry > now then
    local state, boot = unpack(redis.call('HMGET', prefix .. 'node:' .. address, 'state', 'boot'))
    if state == 'ready' then
      listed[#listed + 1] = address
    end
    if boot then
      tagged[#tagged + 1] = boot:sub(1, 8)
      tagged[#tagged + 1] = state == 'draining' and '-' or address
    end
  end
end
return {listed, tagged}
