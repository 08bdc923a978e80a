-- Removes what is known of a session that was handed over.
return redis.call('DEL', KEYS[1])
