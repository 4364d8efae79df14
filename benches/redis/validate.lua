-- The same checks as keygate's decision, as services write them in Redis today: status, expiry, a
-- demanded scope, requests per second (GCRA), and a count of the use.
-- KEYS[1] the key's hash, found by the token's digest · ARGV[1] scope · ARGV[2] cost
local key = redis.call('HMGET', KEYS[1], 'status', 'expires', 'scopes', 'rate', 'burst', 'tat')
if not key[1] then return { 'NOT_FOUND' } end
if key[1] ~= 'ACTIVE' then return { key[1] } end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
if tonumber(key[2]) <= now then return { 'EXPIRED' } end
if not string.find(key[3], ' ' .. ARGV[1] .. ' ', 1, true) then return { 'INSUFFICIENT_SCOPE' } end
local step = 1000000 / tonumber(key[4])
local tat = math.max(tonumber(key[6]) or 0, now) + step * tonumber(ARGV[2])
local room = now + step * tonumber(key[5]) - tat
if room < 0 then return { 'RATE_EXCEEDED', -room } end
redis.call('HSET', KEYS[1], 'tat', tat, 'used', now)
redis.call('HINCRBY', KEYS[1], 'total', 1)
return { 'VALID', math.floor(room / step) }
