-- Commit a group of writes, or refuse it before anything is written.
--
-- KEYS: the prefix of all keys.
-- ARGV: id of the group, seconds for which it is remembered, id of the store, then the writes,
-- each as its name and its arguments.  Replies with one result for each write; {"conflict",
-- message} where the group is refused; {"lost"} where the store is gone, as after a restart of a
-- server that keeps nothing; and what it replied before where the same group comes again, because
-- the first reply was lost.
--
-- First all writes are tried on copies in this script's memory, so that a later one sees the
-- earlier ones, and only then is anything written: Redis undoes nothing.
--
-- A document is kept as the lines between the braces of its JSON, one for each field.  JSON has
-- no line feed inside of a text, so that a field is found and replaced without reading JSON,
-- which would turn integers into floats and forget NaN.

local prefix = KEYS[1]
if redis.call('HGET', prefix .. ':store', 'id') ~= ARGV[3] then return {'lost'} end
local group = prefix .. ':done:' .. ARGV[1]
local before = redis.call('LRANGE', group, 0, -1)
if #before > 0 then return before end

local at = 3
local function take()
  at = at + 1
  return ARGV[at]
end

local documents, highest, logs, payloads = {}, {}, {}, {}

local function document(path, key)
  local known = documents[path]
  if not known then
    known = {}
    documents[path] = known
  end
  if known[key] == nil then
    known[key] = redis.call('HGET', prefix .. ':documents:' .. path, key)
  end
  return known[key]
end

local function highest_of(path)
  if not highest[path] then
    highest[path] = redis.call('HGET', prefix .. ':highest', path) or '0'
  end
  return tonumber(highest[path])
end

local function log(path)
  if not logs[path] then
    local length = redis.call('LLEN', prefix .. ':log:' .. path)
    logs[path] = {length = length, entries = {}, cleared = false}
  end
  return logs[path]
end

local function is_there(digest)
  if payloads[digest] == nil then
    payloads[digest] = redis.call('HEXISTS', prefix .. ':sizes', digest) == 1
  end
  return payloads[digest]
end

local function with_line(text, name, line)
  local begins = string.find(text, '\n' .. name .. ':', 1, true)
  if not begins then
    if text == '\n' then return '\n' .. line .. '\n' end
    return string.sub(text, 1, -2) .. ',\n' .. line .. '\n'
  end
  local ends = string.find(text, '\n', begins + 1, true)
  local comma = ends < #text and ',' or ''
  return string.sub(text, 1, begins) .. line .. comma .. string.sub(text, ends)
end

local function has_line(text, line)
  return string.find(text, '\n' .. line .. '\n', 1, true)
    or string.find(text, '\n' .. line .. ',\n', 1, true)
end

local Conflict = {}
local function refuse(message)
  Conflict.message = message
  error(Conflict)
end

local try = {}

function try.insert()
  local path, key, text = take(), take(), take()
  local number = tonumber(key)
  if key == '' then
    number = highest_of(path) + 1
    key = string.format('%.0f', number)
  elseif document(path, key) then
    refuse('exists')
  end
  documents[path] = documents[path] or {}
  documents[path][key] = text
  if number and string.sub(key, 1, 1) ~= '"' and number > highest_of(path) then
    highest[path] = string.format('%.0f', number)
  end
  return key
end

function try.update()
  local path, key = take(), take()
  local text = document(path, key)
  local changes = {}
  for i = 1, tonumber(take()) do changes[i] = {take(), take()} end
  local expected = true
  for _ = 1, tonumber(take()) do
    local found = false
    for _ = 1, tonumber(take()) do
      local line = take()
      found = found or (text and has_line(text, line))
    end
    expected = expected and found
  end
  if not text then refuse('absent') end
  if not expected then refuse('not as expected') end
  for _, change in ipairs(changes) do text = with_line(text, change[1], change[2]) end
  documents[path][key] = text
  return 1
end

function try.remove()
  local path, key = take(), take()
  if not document(path, key) then return 0 end
  documents[path][key] = false
  return 1
end

function try.append()
  local known = log(take())
  for _ = 1, tonumber(take()) do table.insert(known.entries, take()) end
  return known.length + #known.entries
end

function try.clear()
  local known = log(take())
  local length = known.length + #known.entries
  known.length, known.entries, known.cleared = 0, {}, true
  return length
end

-- A large payload was uploaded before, to a key of its own.
function try.put()
  local digest, size, uploaded, data = take(), take(), take(), take()
  payloads[digest] = {size = size, uploaded = uploaded, data = data}
  return digest
end

function try.hold()
  local digest = take()
  if not is_there(digest) then refuse('no payload') end
  return 1
end

function try.discard()
  local digest = take()
  local there = is_there(digest)
  payloads[digest] = false
  return there and 1 or 0
end

local results = {}
local done, problem = pcall(function()
  while at < #ARGV do table.insert(results, try[take()]()) end
end)
if not done then
  if problem ~= Conflict then error(problem) end
  return {'conflict', Conflict.message, #results}
end

-- From here on nothing may be refused: the kinds of keys are looked at first.
local function expect_kind(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    return redis.error_reply('WRONGTYPE ' .. key .. ' is a ' .. found)
  end
end

local paths, sizes = prefix .. ':paths', prefix .. ':sizes'
local wrong = expect_kind(paths, 'zset') or expect_kind(sizes, 'hash')
for path in pairs(documents) do
  wrong = wrong or expect_kind(prefix .. ':numbers:' .. path, 'zset')
    or expect_kind(prefix .. ':texts:' .. path, 'zset')
end
if wrong then return wrong end

for path, known in pairs(documents) do
  local content = prefix .. ':documents:' .. path
  for key, text in pairs(known) do
    local is_text = string.sub(key, 1, 1) == '"'
    local keys = prefix .. (is_text and ':texts:' or ':numbers:') .. path
    local member = is_text and string.sub(key, 2) or key
    if text then
      redis.call('HSET', content, key, text)
      redis.call('ZADD', keys, is_text and 0 or key, member)
    else
      redis.call('HDEL', content, key)
      redis.call('ZREM', keys, member)
    end
  end
  redis.call('ZADD', paths, 0, path)
end
for path, number in pairs(highest) do redis.call('HSET', prefix .. ':highest', path, number) end
for path, known in pairs(logs) do
  local key = prefix .. ':log:' .. path
  if known.cleared then redis.call('DEL', key) end
  for first = 1, #known.entries, 1000 do
    local last = math.min(first + 999, #known.entries)
    redis.call('RPUSH', key, unpack(known.entries, first, last))
  end
  redis.call('ZADD', paths, 0, path)
end
for digest, payload in pairs(payloads) do
  local key = prefix .. ':payload:' .. digest
  if payload == false then
    redis.call('DEL', key)
    redis.call('HDEL', sizes, digest)
  elseif payload ~= true then
    if payload.uploaded ~= '' then
      redis.call('RENAME', payload.uploaded, key)
      redis.call('PERSIST', key)
    else
      redis.call('DEL', key)
      redis.call('HSET', key, '0', payload.data)
    end
    redis.call('HSET', sizes, digest, payload.size)
  end
end
for _, result in ipairs(results) do redis.call('RPUSH', group, result) end
redis.call('EXPIRE', group, ARGV[2])
return results
