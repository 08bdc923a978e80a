-- Picks a node for a player and reserves a seat there if the request asks for one. Runs inside Redis. The order of
-- preference is the node of the user's other connection, the node of the room, the node of the newest version with the
-- least load relative to its capacity. A node takes players if its lease is valid, it is ready, it has a free seat, and
-- the gateway has not just seen it fail; a version without such a node does not count. The newest version is that of
-- the process that joined last.
--
-- KEYS: `{prefix}:load`, `{prefix}:lease` and `{prefix}:versions`. The keys of single nodes have the same prefix.
-- ARGV: the id of the reservation, empty for none; its lifetime in milliseconds; the node where this id reserved a seat
-- before, if any; the user's node and that node's boot id; the room's node; then any number of nodes that failed.
-- Returns two values: the address of the node, or an empty string if there is none; and the number of ready nodes, or 0
-- if a preferred node was picked. Returns an empty table if the directory is empty, for example after Redis has lost
-- its data and before the nodes have joined again.
local load, lease, joined = unpack(KEYS)
local reservation, lifetime, before, user, boot, room = unpack(ARGV)
local prefix = load:sub(1, -#'load' - 1)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local failed = {}
for i = 7, #ARGV do
  failed[ARGV[i]] = true
end

-- Returns the load of a node as a fraction of its capacity, where 1 is full, and a field of its hash. Returns nothing
-- if the node is not ready or its lease has expired.
local function fullness(address, expiry, carried, field)
  if not expiry or tonumber(expiry) <= now then
    return
  end
  local state, capacity, value = unpack(redis.call('HMGET', prefix .. 'node:' .. address, 'state', 'capacity', field))
  if state == 'ready' then
    return tonumber(carried or 0) / math.max(tonumber(capacity) or 0, 1), value
  end
end

-- Returns whether a preferred node takes players and, if `as` is given, whether it still is the process with that boot
-- id.
local function is_free(address, as)
  if address == '' or failed[address] then
    return false
  end
  local carried = redis.call('ZSCORE', load, address)
  local full, booted = fullness(address, redis.call('HGET', lease, address), carried, 'boot')
  return full and full < 1 and (as == nil or as == booted)
end

if before ~= '' and redis.call('ZREM', prefix .. 'reserved:' .. before, reservation) == 1 then
  redis.call('ZINCRBY', load, -1, before)
end

local picked = is_free(user, boot) and user or is_free(room) and room or nil
local ready = 0
if not picked then
  -- For each version, its nodes with the least load, and how full they are.
  local versions = {}
  local leases = redis.call('HGETALL', lease)
  if #leases == 0 then
    return {}
  end
  -- One call for all loads, because each call takes about a microsecond.
  local carried, scores = {}, redis.call('ZRANGE', load, 0, -1, 'WITHSCORES')
  for i = 1, #scores, 2 do
    carried[scores[i]] = scores[i + 1]
  end
  for i = 1, #leases, 2 do
    local address = leases[i]
    local full, version = fullness(address, leases[i + 1], carried[address], 'version')
    if full then
      ready = ready + 1
      if full < 1 and not failed[address] then
        version = version or ''
        local best = versions[version]
        if not best or full < best.full then
          versions[version] = { full = full, address }
        elseif full == best.full then
          best[#best + 1] = address
        end
      end
    end
  end
  local latest, best = -1, {}
  for version, nodes in pairs(versions) do
    -- A node without a version counts as older than all others.
    local at = tonumber(redis.call('ZSCORE', joined, version) or 0)
    if at > latest then
      latest, best = at, nodes
    end
  end
  -- Alternates between nodes that are equally full. Otherwise requests without a reservation, which do not change the
  -- load, would all go to the same node.
  picked = best[time[2] % math.max(#best, 1) + 1]
end

if picked and reservation ~= '' then
  redis.call('ZADD', prefix .. 'reserved:' .. picked, now + lifetime, reservation)
  redis.call('ZINCRBY', load, 1, picked)
end
return {picked or '', ready}
