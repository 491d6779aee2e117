import { describe, expect, it } from 'vitest'
import type { NetNode } from '@/api/types'
import { READINGS, comparedAt, equality, grouped, tree, wished, wordOf } from './network'

function node(over: Partial<NetNode>): NetNode {
  return {
    id: '1', name: '县局', level: 'county', region: null, region_name: null, enterprise: null, enterprise_name: null, relation: 'child', via: null, state: 'active',
    reason: null, paused: false, connected: true, seen_at: null, fingerprint: null, certificate_until: null, address: null, software: null, queue: null, lag_s: null,
    agreement: null, agreed: null, proof: null, revision: 1, ...over,
  }
}

describe('nodes', () => {
  it('stand_below_whom_they_are_heard_through', () => {
    const nodes = [
      node({ id: 'x', name: '甲厂', relation: 'behind', via: 'c' }),
      node({ id: 'p', name: '市局', relation: 'parent' }),
      node({ id: 'c', name: '东镇' }),
      node({ id: 'b', name: '西镇' }),
      node({ id: 's', name: '县局', relation: 'self' }),
      node({ id: 'q', name: '省厅', relation: 'behind', via: 'p' }),
      node({ id: 'z', name: '无主', relation: 'behind', via: 'gone' }),
    ]
    expect(tree(nodes).map((p) => `${p.depth}${p.id}`)).toEqual(['0q', '1p', '2s', '3c', '4x', '3b', '3z'])
  })
  it('say_what_matters_most', () => {
    expect(wordOf(node({ state: 'revoked', paused: true }))).toBe('revoked')
    expect(wordOf(node({ state: 'frozen', connected: false }))).toBe('frozen')
    expect(wordOf(node({ paused: true }))).toBe('paused')
    expect(wordOf(node({}))).toBe('connected')
    expect(wordOf(node({ connected: false, seen_at: '2026-11-30T00:00:00.000000Z' }))).toBe('silent')
    expect(wordOf(node({ connected: false }))).toBe('never')
    expect(wordOf(node({ relation: 'behind', connected: false }))).toBe('behind')
  })
  it('want_all_readings_unless_something_else_was_agreed', () => {
    expect(wished(node({}))).toBe('all')
    expect(READINGS.map((readings) => wished(node({ agreement: { readings } })))).toEqual([...READINGS])
  })
  it('tell_equality_in_words', () => {
    expect([true, false, null].map((equal) => equality({ equal }))).toEqual(['equal', 'unequal', 'unknown'])
    expect(grouped('abcdef01')).toBe('abcd ef01')
  })
})

describe('a comparison', () => {
  it('reaches as far as the holder that was heard of least lately, and those above whom nobody was compared do not count', () => {
    const holder = (at: string, above: boolean) => ({ node: at, name: '', level: null, count: 1, sum: '00', position: null, at, readings: null, thinned: null, above: above ? { count: 1, sum: '00' } : null })
    const holders = [holder('2026-12-01T04:25:14Z', true), holder('2026-12-01T04:25:05Z', true), holder('2026-12-01T04:20:00Z', false)] as unknown as Parameters<typeof comparedAt>[0]['holders']
    expect(comparedAt({ holders })).toBe('2026-12-01T04:25:05Z')
    expect(comparedAt({ holders: [] })).toBe(null)
  })
})
