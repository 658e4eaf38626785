-- A page of a path's documents, in the order of their keys.
--
-- KEYS: the prefix of all keys.
-- ARGV: path; 1 for descending; the key behind which it begins, or ''; at most so many; 1 for
-- keys alone.  Replies with the keys and, unless they alone were asked for, the documents.

local prefix, path = KEYS[1], ARGV[1]
local descending, after, limit = ARGV[2] == '1', ARGV[3], tonumber(ARGV[4])
local behind_text = string.sub(after, 1, 1) == '"'
local keys = {}

local function integers()
  if behind_text and not descending then return end
  local from = (after == '' or behind_text) and (descending and '+inf' or '-inf') or '(' .. after
  local command = descending and 'ZREVRANGEBYSCORE' or 'ZRANGEBYSCORE'
  local found = redis.call(command, prefix .. ':numbers:' .. path, from,
    descending and '-inf' or '+inf', 'LIMIT', 0, limit - #keys)
  for _, each in ipairs(found) do table.insert(keys, each) end
end

local function texts()
  if after ~= '' and not behind_text and descending then return end
  local from = behind_text and '(' .. string.sub(after, 2) or (descending and '+' or '-')
  local command = descending and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX'
  local found = redis.call(command, prefix .. ':texts:' .. path, from,
    descending and '-' or '+', 'LIMIT', 0, limit - #keys)
  for _, each in ipairs(found) do table.insert(keys, '"' .. each) end
end

local first, second = integers, texts
if descending then first, second = texts, integers end
first()
if #keys < limit then second() end
if ARGV[5] == '1' or #keys == 0 then return {keys, {}} end

local content, documents = prefix .. ':documents:' .. path, {}
for begin = 1, #keys, 1000 do
  local last = math.min(begin + 999, #keys)
  for _, each in ipairs(redis.call('HMGET', content, unpack(keys, begin, last))) do
    table.insert(documents, each)
  end
end
return {keys, documents}
