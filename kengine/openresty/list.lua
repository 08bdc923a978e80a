-- Lists the nodes that take players, full ones included: those that are ready and have a valid lease. Runs inside Redis
-- and writes nothing.
--
-- KEYS: `{prefix}:lease`. The keys of single nodes have the same prefix.
-- Returns the addresses of the nodes.
local lease = KEYS[1]
local prefix = lease:sub(1, -#'lease' - 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local leases = redis.call('HGETALL', lease)
local listed = {}
for i = 1, #leases, 2 do
  local address, expiry = leases[i], tonumber(leases[i + 1])
  if expiry > now and redis.call('HGET', prefix .. 'node:' .. address, 'state') == 'ready' then
    listed[#listed + 1] = address
  end
end
return listed
