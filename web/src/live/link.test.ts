import { beforeEach, expect, it } from 'vitest'
import { LiveLink, type SocketLike } from './link'

class FakeSocket implements SocketLike {
  sent: unknown[] = []
  closed = false
  onopen: (() => void) | null = null
  onmessage: ((event: { data: unknown }) => void) | null = null
  onclose: (() => void) | null = null
  send(text: string) {
    this.sent.push(JSON.parse(text))
  }
  close() {
    this.closed = true
  }
  say(message: unknown) {
    this.onmessage?.({ data: JSON.stringify(message) })
  }
}

let now = 0
let timers: { at: number; run: () => void }[] = []
let sockets: FakeSocket[] = []
let link: LiveLink

function advance(ms: number) {
  const end = now + ms
  for (;;) {
    const next = timers.filter((t) => t.at <= end).sort((a, b) => a.at - b.at)[0]
    if (!next) break
    timers = timers.filter((t) => t !== next)
    now = next.at
    next.run()
  }
  now = end
}
const last = () => sockets[sockets.length - 1]!

beforeEach(() => {
  now = 0
  timers = []
  sockets = []
  link = new LiveLink({
    open: () => {
      const socket = new FakeSocket()
      sockets.push(socket)
      return socket
    },
    now: () => now,
    after: (ms, run) => {
      const timer = { at: now + ms, run }
      timers.push(timer)
      return () => (timers = timers.filter((t) => t !== timer))
    },
    random: () => 1,
  })
})

it('resumes_with_the_last_token_after_a_break', () => {
  const heard: unknown[] = []
  link.subscribe('alarms', (data) => heard.push(...data))
  link.start()
  last().onopen?.()
  expect(last().sent).toEqual([{ topics: ['alarms'], resume: null }])
  last().say({ topic: 'alarms', token: 't1', data: [{ id: '1' }] })
  last().say({ event: 'ping', token: 't2' })
  last().onclose?.()
  advance(600)
  expect(sockets.length).toBe(2)
  last().onopen?.()
  expect(last().sent).toEqual([{ topics: ['alarms'], resume: 't2' }])
  expect(heard).toEqual([{ id: '1' }])
})

it('is_down_after_ten_seconds_of_silence_even_if_the_socket_never_closes', () => {
  link.start()
  last().onopen?.()
  last().say({ event: 'ping', token: 'a' })
  expect(link.state).toBe('live')
  advance(7_500)
  expect(link.state).toBe('late')
  advance(3_000)
  expect(link.state).toBe('down')
  expect(sockets[0]!.closed).toBe(true)
  expect(sockets.length).toBeGreaterThan(1)
})

it('backs_off_and_starts_over_once_heard', () => {
  link.start()
  const gaps: number[] = []
  for (let i = 0; i < 8; i++) {
    const before = now
    const n = sockets.length
    last().onclose?.()
    while (sockets.length === n) advance(100)
    gaps.push(now - before)
  }
  expect(gaps[0]).toBe(500)
  expect(gaps[1]).toBe(1000)
  expect(Math.max(...gaps)).toBe(15_000)
  last().onopen?.()
  last().say({ event: 'ping' })
  const n = sockets.length
  last().onclose?.()
  advance(500)
  expect(sockets.length).toBe(n + 1)
})

it('forgets_the_token_and_tells_everyone_when_it_is_too_old', () => {
  let fetched = 0
  link.onSnapshot(() => (fetched += 1))
  link.start()
  last().onopen?.()
  last().say({ topic: 'alarms', token: 'old', data: [] })
  last().say({ event: 'snapshot' })
  expect(fetched).toBe(1)
  last().onclose?.()
  advance(1000)
  last().onopen?.()
  expect(last().sent[0]).toEqual({ topics: [], resume: null })
  last().say({ event: 'snapshot', token: 'new' })
  last().onclose?.()
  advance(1000)
  last().onopen?.()
  expect(last().sent[0]).toEqual({ topics: [], resume: 'new' })
})

it('asks_again_for_a_change_whose_handler_failed', () => {
  link.subscribe('alarms', () => {
    throw new Error('broken view')
  })
  link.start()
  last().onopen?.()
  last().say({ event: 'ping', token: 'before' })
  expect(() => last().say({ topic: 'alarms', token: 'after', data: [1] })).toThrow('broken view')
  last().onclose?.()
  advance(1000)
  last().onopen?.()
  expect(last().sent[0]).toMatchObject({ resume: 'before' })
})

it('counts_the_subscribers_of_a_topic', () => {
  link.start()
  last().onopen?.()
  const a = link.subscribe('vehicles', () => {})
  const b = link.subscribe('vehicles', () => {})
  a()
  b()
  b()
  expect(last().sent.slice(1)).toEqual([{ topics: ['vehicles'] }, { topics: [] }])
})

it('survives_a_message_that_is_not_json', () => {
  link.start()
  last().onopen?.()
  last().onmessage?.({ data: '{' })
  expect(link.lastHeardAt).toBeNull()
})

it('tells_what_is_wrong_with_the_node_and_when_it_is_over', () => {
  const told: string[][] = []
  link.onTroubles = (found) => told.push(found.map((x) => x.trouble))
  link.start()
  last().onopen?.()
  last().say({ event: 'ping', token: 'a', troubles: [{ trouble: 'engine', seconds: 6, since: null }] })
  last().say({ event: 'ping', token: 'b', troubles: [] })
  last().say({ event: 'ping', token: 'c' })
  expect(told).toEqual([['engine'], [], []])
})
