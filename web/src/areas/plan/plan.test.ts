import { describe, expect, it } from 'vitest'
import { against, figure, outline, share } from './plan'

describe('figures of a plan', () => {
  it('keep the places of their definition and say when there is none', () => {
    expect(figure(0.2, 2)).toBe('0.20')
    expect(figure(null, 2)).toBe('—')
    expect(against({ value: 0.2, decimals: 2, target: 0.22, direction: '<=' })).toBe('0.20 ≤ 0.22')
    expect(against({ value: null, decimals: 0, target: 95, direction: '>=' })).toBe('— ≥ 95')
    expect(against({ value: 3, decimals: 0, target: null, direction: 'increase' })).toBe('3')
  })
  it('are as long as their part of the longest', () => {
    expect(share(5, [10, null, 5])).toBe('50%')
    expect(share(0, [0, 0])).toBe('0%')
  })
})

describe('the outline of a plan', () => {
  it('has every heading above a target, in order, and no other', () => {
    const nodes = [
      { id: '一', parent: '' },
      { id: '二', parent: '' },
      { id: '二（一）', parent: '二' },
      { id: '二（二）', parent: '二' },
    ]
    const found = outline(nodes, [{ node: '二（二）' }])
    expect(found.map((row) => [row.node.id, row.depth, row.targets.length])).toEqual([
      ['二', 0, 0],
      ['二（二）', 1, 1],
    ])
  })
})
