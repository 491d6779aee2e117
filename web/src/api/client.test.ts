import { beforeEach, expect, it, vi } from 'vitest'
import { ApiError, all, api, hooks, withQuery } from './client'

type Answer = { status: number; body?: unknown; headers?: Record<string, string> }
let answers: Answer[] = []
let asked: { url: string; init: RequestInit }[] = []

beforeEach(() => {
  answers = []
  asked = []
  vi.stubGlobal('document', { documentElement: { lang: 'zh-CN' } })
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    asked.push({ url, init })
    const next = answers.shift()
    if (!next) return Promise.reject(new TypeError('fetch failed'))
    const body = next.status === 204 ? null : JSON.stringify(next.body ?? {})
    return Promise.resolve(new Response(body, { status: next.status, headers: next.headers }))
  })
  hooks.csrf = () => 'token-1'
  hooks.reauthenticate = () => Promise.resolve(false)
  hooks.expired = () => {}
})
const idle: Answer = { status: 401, body: { errors: [{ code: 'session.idle', detail: '', params: {} }], trace: 't' } }
const header = (i: number, name: string) => (asked[i]!.init.headers as Record<string, string>)[name]

it('acts_once_more_after_the_password_with_the_new_csrf_token', async () => {
  answers = [idle, { status: 200, body: { ok: true } }]
  hooks.reauthenticate = (mode) => {
    expect(mode).toBe('idle')
    hooks.csrf = () => 'token-2'
    return Promise.resolve(true)
  }
  expect(await api.post('/alarms/1/acknowledge', { note: 'n' })).toEqual({ ok: true })
  expect(asked.map((a) => a.init.body)).toEqual(['{"note":"n"}', '{"note":"n"}'])
  expect([header(0, 'X-CSRF-Token'), header(1, 'X-CSRF-Token')]).toEqual(['token-1', 'token-2'])
})
it('gives_the_refusal_back_when_the_person_gives_up', async () => {
  answers = [idle]
  await expect(api.post('/alarms/1/close', {})).rejects.toMatchObject({ status: 401, code: 'session.idle', trace: 't' })
})
it('never_asks_for_a_password_to_read', async () => {
  let expired = 0
  hooks.expired = () => (expired += 1)
  hooks.reauthenticate = () => Promise.reject(new Error('asked'))
  answers = [{ status: 401, body: { errors: [{ code: 'session.none', detail: '', params: {} }], trace: 't' } }]
  await expect(api.get('/alarms')).rejects.toBeInstanceOf(ApiError)
  expect(expired).toBe(1)
})
it('calls_a_dead_network_by_its_name', async () => {
  await expect(api.get('/summary')).rejects.toMatchObject({ status: 0, code: 'network' })
})
it('reads_a_proxy_page_as_its_status', async () => {
  vi.stubGlobal('fetch', () => Promise.resolve(new Response('<html>', { status: 502 })))
  await expect(api.get('/summary')).rejects.toMatchObject({ code: 'http.502' })
})
it('follows_cursors_to_the_end', async () => {
  answers = [
    { status: 200, body: { users: [1, 2], next: 'c' } },
    { status: 200, body: { users: [3], next: null } },
  ]
  expect(await all('/users', 'users', { limit: 2 })).toEqual([1, 2, 3])
  expect(asked.map((a) => a.url)).toEqual(['/api/v1/users?limit=2', '/api/v1/users?limit=2&cursor=c'])
})
it('sends_no_empty_query_words', () => {
  expect(withQuery('/a', { x: '', y: null, z: undefined, q: '储罐', n: 0 })).toBe('/a?q=%E5%82%A8%E7%BD%90&n=0')
})
