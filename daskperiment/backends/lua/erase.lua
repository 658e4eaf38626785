-- Remove every key of a store, all of which it knows without asking for a pattern.
--
-- KEYS: the prefix of all keys.

local prefix = KEYS[1]
for _, path in ipairs(redis.call('ZRANGE', prefix .. ':paths', 0, -1)) do
  for _, kind in ipairs({'documents', 'numbers', 'texts', 'log'}) do
    redis.call('UNLINK', prefix .. ':' .. kind .. ':' .. path)
  end
end
for _, digest in ipairs(redis.call('HKEYS', prefix .. ':sizes')) do
  redis.call('UNLINK', prefix .. ':payload:' .. digest)
end
for _, kind in ipairs({'paths', 'highest', 'sizes', 'store'}) do
  redis.call('UNLINK', prefix .. ':' .. kind)
end
