-- Publishes a message to a user in the channel of the node that has the user's connection.
local boot = redis.call('HGET', KEYS[1], 'boot')
if boot then
  return redis.call('PUBLISH', ARGV[1] .. boot, ARGV[2])
end
return 0
