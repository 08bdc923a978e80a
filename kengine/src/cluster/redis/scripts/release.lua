-- Removes the claim of a node none of whose connections has the uid any more. A claim of another node stays.
local user = KEYS[1]
local boot = ARGV[1]
if redis.call('HGET', user, 'boot') == boot then
  return redis.call('DEL', user)
end
return 0
