import { describe, expect, it } from 'vitest'
import type { Alarm } from '@/api/types'
import { type AlarmFilter, byUrgency, changedAt, newer, split } from './alarm'

function alarm(over: Partial<Alarm>): Alarm {
  return {
    id: '1', rule: 'r', kind: 'hh', point: 'p', vehicle: null, name: '可燃气体', unit: '%LEL', enterprise: 'e', enterprise_name: '甲厂',
    region: '530402', region_name: '红塔区', level: 'red', state: 'raised', points: [], combination: null, members: [], value: 51, threshold: 50, source: '',
    confidence: '', onset_at: '2026-11-24T00:00:00.000000Z', raised_at: '2026-11-24T00:00:00.000000Z', acknowledged_at: null,
    acknowledged_by: null, acknowledged_note: null, returned_at: null, closed_at: null, closed_by: null, closed_reason: null,
    historic: false, home: null, handlings: [], trust: null, ...over,
  }
}
const none: AlarmFilter = { levels: [], states: [], region: '', enterprise: '', q: '' }

describe('duty order', () => {
  it('puts_an_unacknowledged_blue_before_an_acknowledged_red', () => {
    const red = alarm({ id: '1', state: 'acknowledged', acknowledged_at: '2026-11-24T00:01:00.000000Z' })
    const blue = alarm({ id: '2', level: 'blue' })
    expect([red, blue].sort(byUrgency).map((a) => a.id)).toEqual(['2', '1'])
  })
  it('puts_red_first_then_the_newest', () => {
    const rows = [alarm({ id: '1', level: 'orange' }), alarm({ id: '2' }), alarm({ id: '3', raised_at: '2026-11-24T00:00:01.000000Z' })]
    expect(rows.sort(byUrgency).map((a) => a.id)).toEqual(['3', '2', '1'])
  })
  it('keeps_a_returned_alarm_that_nobody_saw_among_the_unacknowledged', () => {
    const gone = alarm({ id: '1', state: 'returned', returned_at: '2026-11-24T00:01:00.000000Z' })
    const seen = alarm({ id: '2', state: 'acknowledged', acknowledged_at: '2026-11-24T00:01:00.000000Z' })
    expect([seen, gone].sort(byUrgency)[0]!.id).toBe('1')
  })
})

describe('merging', () => {
  it('does_not_let_a_replay_undo_a_newer_row', () => {
    const acknowledged = alarm({ state: 'acknowledged', acknowledged_at: '2026-11-24T00:05:00.000000Z' })
    expect(newer(acknowledged, alarm({}))).toBe(acknowledged)
    expect(changedAt(acknowledged)).toBe('2026-11-24T00:05:00.000000Z')
  })
  it('takes_the_same_change_twice_without_showing_it_twice', () => {
    const change = alarm({ id: '9' })
    const first = split(new Map(), new Map(), [change], none)
    expect(first.arrive).toHaveLength(1)
    const again = split(new Map(), new Map([['9', change]]), [change], none)
    expect(again.arrive.map((a) => a.id)).toEqual(['9'])
    const listed = split(new Map([['9', change]]), new Map(), [change], none)
    expect(listed).toEqual({ replace: [change], arrive: [] })
  })
  it('does_not_announce_what_the_filter_hides', () => {
    const { arrive } = split(new Map(), new Map(), [alarm({ level: 'blue' })], { ...none, levels: ['red'] })
    expect(arrive).toEqual([])
    expect(split(new Map(), new Map(), [alarm({})], { ...none, region: '5304', q: '甲' }).arrive).toHaveLength(1)
  })
})
