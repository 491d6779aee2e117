// Development tool, not shipped: serves dist/ and answers the API with invented data, so that pages can be looked at
// without the server. `node dev/mock-server.mjs --port 8090`; any user, password `mock-password`.
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { WebSocketServer } from 'ws'

const port = Number(process.argv[process.argv.indexOf('--port') + 1] || 8090)
const root = new URL('../dist/', import.meta.url).pathname
const map = JSON.parse(await readFile(new URL('../../packs/region-yuxi/counties.geojson', import.meta.url)))
let seed = 7
const rnd = () => ((seed = (seed * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff)
const pick = (list) => list[Math.floor(rnd() * list.length)]
const iso = (ms) => new Date(ms).toISOString().replace('Z', '000Z')
const now = () => Date.now()
const LEVELS = ['red', 'orange', 'yellow', 'blue']
const counties = map.features.map((f) => f.properties)
const enterprises = Array.from({ length: 250 }, (_, i) => {
  const c = counties[i % 9]
  return { id: String(i + 1), code: `E${i + 1}`, name: `演示${pick(['安泰', '恒源', '锦程', '宏远', '绿洲'])}${pick(['化工', '燃气', '矿业', '冶金', '运输'])}有限公司${i + 1}号`, region: c.code, region_name: c.name, sector: pick(['hazchem', 'gas', 'mine', 'road_transport']), place: { lon: c.label[0] + (rnd() - 0.5) * 0.25, lat: c.label[1] + (rnd() - 0.5) * 0.25 }, points: 12, points_online: 11, worst_level: null, revision: 1 }
})
const KINDS = [['可燃气体浓度', '%LEL', 25, 50], ['储罐液位', 'm', 8, 9], ['储罐压力', 'kPa', 300, 400], ['一氧化碳', 'ppm', 24, 48]]
const points = enterprises.flatMap((e, i) => Array.from({ length: 12 }, (_, k) => {
  const [name, unit, h, hh] = KINDS[k % 4]
  return { id: String(i * 12 + k + 1), device: e.id, enterprise: e.id, enterprise_name: e.name, site: k < 6 ? '罐区一' : '装卸区', code: `AT-${100 + k}`, name: `${name}${k + 1}`, unit, kind: 'gas_combustible', period_s: 10, range_low: 0, range_high: hh * 2, limits: { hh, h, l: null, ll: null, deadband: 0.5, on_delay_s: 0, off_delay_s: 0, rate_per_min: null }, limits_source: { document: 'GB/T 50493-2019', clause: '5.5.2' }, confirmed: true, place: null, revision: 1 }
}))
const valueAt = (p, ms) => Math.round(p.limits.h * (0.5 + 0.3 * Math.sin(ms / 6e5 + Number(p.id)) + 0.02 * Math.sin(ms / 3000)) * 1000) / 1000
const latest = (p) => (Number(p.id) % 37 === 0 ? null : { at: iso(now() - 4000 - (Number(p.id) % 11 === 0 ? 720000 : 0)), received_at: iso(now() - 3900), value: valueAt(p, now()), quality: Number(p.id) % 13 === 0 ? 'bad' : 'good', flags: Number(p.id) % 17 === 0 ? ['late'] : [], stale: Number(p.id) % 11 === 0, age_s: 4 })
const vehicles = Array.from({ length: 1000 }, (_, i) => { const c = counties[i % 9]; return { id: String(i + 1), plate: `云F·演${String(i + 1).padStart(4, '0')}`, kind: 'hazmat', lon: c.label[0] + (rnd() - 0.5) * 0.3, lat: c.label[1] + (rnd() - 0.5) * 0.3, speed_kmh: Math.round(rnd() * 90), direction_deg: Math.floor(rnd() * 360), at: iso(now()), online: i % 12 !== 0, level: i % 211 === 5 ? 'yellow' : null } })
let nextAlarm = 1
const alarms = new Map()
function raise(level, ms, over = {}) {
  const p = pick(points)
  const e = enterprises.find((x) => x.id === p.enterprise)
  const hh = level === 'red'
  const a = { id: String(nextAlarm++), rule: hh ? 'hh' : 'h', kind: hh ? 'hh' : 'h', point: p.id, vehicle: null, name: p.name, unit: p.unit, enterprise: e.id, enterprise_name: e.name, region: e.region, region_name: e.region_name, level, state: 'raised', points: [p.id], value: hh ? p.limits.hh * 1.1 : p.limits.h * 1.05, threshold: hh ? p.limits.hh : p.limits.h, source: 'GB/T 50493-2019 5.5.2', confidence: pick(['verified', 'unverified']), onset_at: iso(ms - 2000), raised_at: iso(ms), acknowledged_at: null, acknowledged_by: null, acknowledged_note: null, returned_at: null, closed_at: null, closed_by: null, closed_reason: null, historic: false, trust: null, ...over }
  alarms.set(a.id, a)
  return a
}
for (let i = 0; i < 400; i++) {
  const ms = now() - (400 - i) * 200000
  const level = pick(['red', 'orange', 'yellow', 'yellow', 'blue', 'blue'])
  raise(level, ms, i < 370 ? { state: 'closed', acknowledged_at: iso(ms + 60000), acknowledged_by: '值班员甲', returned_at: iso(ms + 90000), closed_at: iso(ms + 120000), closed_by: '值班员甲', closed_reason: '现场已处理' } : i < 385 ? { state: 'acknowledged', acknowledged_at: iso(ms + 60000), acknowledged_by: '值班员甲', acknowledged_note: '已电话通知' } : i % 3 === 0 ? { state: 'returned', returned_at: iso(ms + 60000) } : {})
}
const me = { id: '1', username: 'admin', name: '演示管理员', grants: [{ role: 'administrator', region: null, sector: null, enterprise: null }, { role: 'duty_officer', region: null, sector: null, enterprise: null }], permissions: ['view', 'handle_alarm', 'manage_devices', 'manage_limits', 'manage_users', 'view_audit', 'manage_system'] }
const list = [...alarms.values()]
const open = () => [...alarms.values()].filter((a) => a.state !== 'closed')
const summary = () => ({ now: iso(now()), counts: { enterprises: 250, devices: 250, points: 3000, points_online: 2890, points_stale: 110, vehicles: 1000, vehicles_online: 916, alarms_unacknowledged: 0, alarms_open: open().length, red: 0, orange: 0, yellow: 0, blue: 0 }, regions: counties.map((c) => ({ code: c.code, name: c.name, enterprises: 28, points: 333, points_online: 320, vehicles_online: 101, red: 0, orange: 0, yellow: 0, blue: 0 })), alarms_24h: Array.from({ length: 24 }, (_, i) => ({ at: iso(Math.floor(now() / 36e5) * 36e5 - (23 - i) * 36e5), red: i % 7 === 0 ? 2 : 0, orange: i % 3, yellow: 2 + (i % 5), blue: 4 + (i % 4) })), links: [{ name: 'mqtt', connections: 240, messages_total: 812345, readings_total: 2412345, refused_total: 12, last_at: iso(now() - 900) }, { name: 'http', connections: 2, messages_total: 1234, readings_total: 45678, refused_total: 0, last_at: iso(now() - 20000) }, { name: 'jt808', connections: 916, messages_total: 554321, readings_total: 550000, refused_total: 31, last_at: iso(now() - 300) }], log: { position: 3412345, projected: 3412345, lag: 0 }, degraded: false })
let sessions = 0
let idle = false
const refuse = (status, code, field) => ({ status, body: { errors: [{ code, detail: code, field, params: {} }], trace: 'mock' } })
function answer(method, path, q, body, signedIn) {
  const range = (step, make) => { const from = Date.parse(q.get('from') ?? iso(now() - 36e5)); const to = Math.min(Date.parse(q.get('to') ?? iso(now())), now()); const out = []; for (let t = Math.ceil(from / step) * step; t <= to && out.length < 10000; t += step) if (t % 36e5 > 4e5) out.push(make(t)); return out }
  if (path === '/status') return { name: '安澜', version: '0.1.0', demo: true, test_clock: false, setup_needed: false, region: { code: '530400', name: '玉溪市' }, map_attribution: '县界：公开数据示意' }
  if (path === '/session' && method === 'POST') { if (body.password !== 'mock-password') return refuse(401, 'session.credentials'); return { status: 201, cookie: `anlan_session=m${++sessions}; Path=/; HttpOnly; SameSite=Strict`, body: { token: 'm', csrf: 'c', user: me } } }
  if (path === '/session' && method === 'DELETE') return { status: 204, cookie: 'anlan_session=; Path=/; Max-Age=0' }
  if (!signedIn) return refuse(401, 'session.none')
  if (path === '/session/reauth') { idle = false; return { status: 204 } }
  if (path === '/session') return { user: me, csrf: 'c', demo: true, test_clock: false, idle, now: iso(now()) }
  if (idle && method !== 'GET') return refuse(401, 'session.idle')
  if (path === '/regions') return { regions: counties, next: null }
  if (path === '/summary') return summary()
  if (path === '/map/counties') return map
  if (path === '/enterprises') return { enterprises, next: null }
  if (path === '/points/latest') return { points: points.filter((p) => p.enterprise === q.get('enterprise')).map((p) => ({ ...p, latest: latest(p), level: open().find((a) => a.point === p.id)?.level ?? null })), next: null }
  if (path === '/points') return { points: points.slice(0, 60).map((p) => ({ ...p, latest: latest(p) })), next: 'x' }
  const [, noun, id, what] = path.split('/')
  if (noun === 'points' && !what) { const p = points.find((x) => x.id === id); return method === 'PATCH' ? refuse(409, 'revision.stale', 'revision') : { ...p, latest: latest(p) } }
  if (noun === 'points' && what === 'readings') { const p = points.find((x) => x.id === id); return { readings: range(10000, (t) => ({ at: iso(t), received_at: iso(t + 80), value: valueAt(p, t), quality: 'good', flags: [], revision: 0 })), next: null } }
  if (noun === 'points' && what === 'rollup') { const p = points.find((x) => x.id === id); const s = q.get('step') === '60s' ? 6e4 : 36e5; return { rollup: range(s, (t) => ({ at: iso(t), min: valueAt(p, t) - 1, max: valueAt(p, t) + 1, mean: valueAt(p, t), count: 6 })), next: null } }
  if (path === '/vehicles/latest') return { vehicles, next: null }
  if (noun === 'vehicles' && what === 'positions') { const v = vehicles.find((x) => x.id === id); return { positions: range(30000, (t) => ({ at: iso(t), received_at: iso(t), device_at: iso(t), lon: v.lon + 0.05 * Math.sin(t / 2e6), lat: v.lat + 0.05 * Math.cos(t / 3e6), altitude_m: 1630, speed_kmh: 50 + 20 * Math.sin(t / 3e5), direction_deg: 10, alarm_bits: 0, status_bits: 3, flags: [], acc: true, fix: true, items: [] })), next: null } }
  if (noun === 'vehicles') { const v = vehicles.find((x) => x.id === id); return { ...v, phone: '013800138000', enterprise: null, enterprise_name: null, region: null, trust: 'open', adopted: false, speed_limit_kmh: 80, revision: 1, latest: { at: v.at, received_at: v.at, device_at: v.at, lon: v.lon, lat: v.lat, altitude_m: 1630, speed_kmh: v.speed_kmh, direction_deg: v.direction_deg, alarm_bits: 2, status_bits: 3, flags: [], acc: true, fix: true, items: [{ id: '0x01', name: 'odometer', odometer_km: 1234.5 }, { id: '0x30', name: 'radio_strength', strength: 21 }] } } }
  if (path === '/alarms') { const states = (q.get('state') || '').split(',').filter(Boolean); const levels = (q.get('level') || '').split(',').filter(Boolean); const rows = [...alarms.values()].filter((a) => (!states.length || states.includes(a.state)) && (!levels.length || levels.includes(a.level)) && (!q.get('region') || a.region === q.get('region')) && (!q.get('q') || `${a.name}${a.enterprise_name}`.includes(q.get('q')))).reverse(); const counts = { raised: 0, acknowledged: 0, returned: 0, closed: 0 }; for (const a of alarms.values()) counts[a.state]++; return { alarms: rows, next: null, counts } }
  if (noun === 'alarms' && !what) return alarms.get(id) ?? refuse(404, 'row.not_found')
  if (noun === 'alarms') { let a = alarms.get(id); if (what === 'close' && !a.returned_at) return refuse(409, 'alarm.still_standing'); a = what === 'acknowledge' ? { ...a, state: a.state === 'raised' ? 'acknowledged' : a.state, acknowledged_at: iso(now()), acknowledged_by: me.name, acknowledged_note: body.note } : { ...a, state: 'closed', closed_at: iso(now()), closed_by: me.name, closed_reason: body.reason }; alarms.set(id, a); say('alarms', [a]); return a }
  if (path === '/devices' && method === 'POST') return { status: 201, body: { id: '9', code: body.code, secret: 'mock-secret-shown-once-0123456789' } }
  if (path === '/devices') return { devices: enterprises.slice(0, 40).map((e) => ({ id: e.id, code: `DEV-${e.code}`, name: `${e.name}采集网关`, enterprise: e.id, enterprise_name: e.name, protocol: 'mqtt', gateway: true, may_backfill: true, disabled: false, online: true, last_at: iso(now()), points: 12, revision: 1 })), next: null }
  if (path === '/rules') return { rules: [{ id: 'hh', kind: 'hh', level: 'red', threshold: null, unit: null, applies_to: '*', standard: 'product', clause: '突发事件应对法 (2007) art. 42', effective: '2007-11-01', confidence: 'product', note: '高高限' }, { id: 'gas-2', kind: 'hh', level: 'red', threshold: 50, unit: '%LEL', applies_to: 'gas_combustible', standard: 'GB/T 50493-2019', clause: '5.5.2', effective: '2020-01-01', confidence: 'verified', note: '二级报警设定值' }], next: null }
  if (path === '/users') return { users: [{ ...me, disabled: false, revision: 1, created_at: iso(now()) }], next: null }
  if (path === '/audit') return { entries: [{ id: '1', at: iso(now()), user: '1', name: me.name, action: 'acknowledge', noun: 'alarm', subject: '391', detail: { note: '已电话通知' } }], next: null }
  if (path === '/quarantine') return { entries: [{ id: '1', at: iso(now()), source: '127.0.0.1:51234', protocol: 'jt808', reason: 'checksum', size: 34, preview_hex: '7e0200001c0138001380000001' }], next: null }
  if (path === '/events') return { events: [{ id: '1', at: iso(now()), kind: 'clock_offset', subject: 'vehicle 12', detail: { offset_s: 28800 } }], next: null }
  return refuse(404, 'row.not_found')
}
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' }
const CSP = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self' ws: wss:"
const server = createServer(async (request, response) => {
  const url = new URL(request.url, 'http://x')
  if (url.pathname.startsWith('/api/v1/')) {
    let text = ''
    for await (const chunk of request) text += chunk
    if (process.env.MOCK_IDLE_AFTER && request.method === 'GET' && url.pathname.endsWith('/summary')) idle = true
    const got = answer(request.method, url.pathname.slice(7), url.searchParams, text ? JSON.parse(text) : {}, /anlan_session=m/.test(request.headers.cookie ?? ''))
    const { status, body } = got.status && (got.body || got.status === 204) ? got : { status: 200, body: got }
    response.writeHead(status, { 'content-type': 'application/json', 'x-anlan-demo': '1', ...(got.cookie ? { 'set-cookie': got.cookie } : {}) }).end(status === 204 ? '' : JSON.stringify(body))
    return
  }
  const file = extname(url.pathname) ? url.pathname : '/index.html'
  try {
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream', 'content-security-policy': CSP }).end(await readFile(join(root, file)))
  } catch {
    response.writeHead(404).end()
  }
})
const sockets = new WebSocketServer({ server, path: '/api/v1/live' })
let token = 1
function say(topic, data) {
  token++
  for (const s of sockets.clients) if (s.topics?.includes(topic)) s.send(JSON.stringify({ topic, token: String(token), data }))
}
sockets.on('connection', (s) => {
  s.on('message', (m) => (s.topics = JSON.parse(m).topics))
})
setInterval(() => {
  for (const v of vehicles) { v.lon += (rnd() - 0.5) * 0.002; v.lat += (rnd() - 0.5) * 0.002; v.at = iso(now()) }
  say('vehicles', vehicles.filter((v) => v.online))
  for (const s of sockets.clients) for (const t of s.topics ?? []) if (t.startsWith('enterprise:')) s.send(JSON.stringify({ topic: t, token: String(token), data: points.filter((p) => p.enterprise === t.slice(11) && latest(p) && !latest(p).stale).map((p) => ({ id: p.id, at: iso(now()), received_at: iso(now()), value: valueAt(p, now()), quality: 'good', flags: [], revision: 0 })) }))
}, 1000)
setInterval(() => sockets.clients.forEach((s) => s.send(JSON.stringify({ event: 'ping', now: iso(now()), token: String(token) }))), 5000)
setInterval(() => say('alarms', [raise(pick(LEVELS), now())]), Number(process.env.MOCK_ALARM_MS ?? 20000))
void list
server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${port}`))
