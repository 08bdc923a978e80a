-- Takes, renews or gives up the lease of a room's game loop. Returns `renewed`, `created` or `moved` with the fencing
-- number and what was saved, `elsewhere` with the milliseconds until that lease ends, `other` with the kind of the loop
-- if that is not the kind of the node's loop, or `nowhere`. If the directory knows the node for a shorter time than
-- since the node joined first (`joined`), Redis may have lost its data. Then another node may still run the loop until
-- its lease ends, so a new loop waits that long. A fencing number is never smaller than the time at which it was given,
-- so that it grows even if Redis has lost the last one.
local row, node = unpack(KEYS)
local boot, kind, joined, lease, keep, fence, is_valid, wish, saves, saved = unpack(ARGV)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holder, held, expiry, known_kind = unpack(redis.call('HMGET', row, 'boot', 'fence', 'until', 'kind'))
local is_own = holder == boot and held == fence
if wish == 'end' or wish == 'hand over' then
  if is_own and wish == 'end' then
    redis.call('DEL', row)
  elseif is_own then
    redis.call('HSET', row, 'until', 0)
    if saves == '1' then
      redis.call('HSET', row, 'saved', saved)
    end
  end
  return {'nowhere'}
end
if known_kind and not is_own and known_kind ~= kind then
  return {'other', known_kind}
end
if holder and holder ~= boot and tonumber(expiry) > now then
  return {'elsewhere', tonumber(expiry) - now}
end
local answer = 'moved'
if is_own then
  answer = 'renewed'
elseif not holder then
  local known, since = unpack(redis.call('HMGET', node, 'boot', 'registered'))
  since = known == boot and tonumber(since)
  local is_known = since and (since <= tonumber(joined) or now - since >= tonumber(lease))
  if not is_known and is_valid == '0' or wish == 'take over' then
    return {'nowhere'}
  end
  answer = wish == 'renew' and 'renewed' or 'created'
end
if not is_own then
  fence = string.format('%.0f', math.max(now, (tonumber(held) or 0) + 1))
end
redis.call('HSET', row, 'boot', boot, 'kind', kind, 'fence', fence, 'until', now + lease)
if answer == 'renewed' and saves == '1' then
  redis.call('HSET', row, 'saved', saved)
end
redis.call('PEXPIRE', row, keep)
return {answer, fence, answer == 'moved' and redis.call('HGET', row, 'saved') or nil}
