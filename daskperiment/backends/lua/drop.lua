-- Remove all documents and logs at and under a path.
--
-- KEYS: the prefix of all keys.  ARGV: the path.

local prefix, path = KEYS[1], ARGV[1]
local paths = prefix .. ':paths'
local found = redis.call('ZRANGEBYLEX', paths, '[' .. path .. '/', '(' .. path .. '0')
table.insert(found, path)
for _, each in ipairs(found) do
  for _, kind in ipairs({'documents', 'numbers', 'texts', 'log'}) do
    redis.call('UNLINK', prefix .. ':' .. kind .. ':' .. each)
  end
  redis.call('HDEL', prefix .. ':highest', each)
  redis.call('ZREM', paths, each)
end
