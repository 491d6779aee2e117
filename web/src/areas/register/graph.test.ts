import { describe, expect, it } from 'vitest'
import { KIND } from './fixture'
import { layout, spread } from './graph'

const picture = layout(KIND.states, KIND.transitions, KIND.start)
const box = (id: string) => picture.boxes.find((b) => b.id === id)!
const line = (from: string, to: string) => picture.lines.find((l) => l.from === from && l.to === to)!

describe('layout', () => {
  it('stands_states_in_the_order_of_a_life', () => {
    const order = ['draft', 'found', 'treating', 'checked', 'closed'].map((id) => box(id).y)
    expect(order).toEqual([...order].sort((a, b) => a - b))
    expect(new Set(order).size).toBe(5)
  })
  it('draws_one_line_for_two_transitions_of_the_same_way_and_names_both', () => {
    expect(picture.lines.filter((l) => l.from === 'draft')).toHaveLength(1)
    expect(line('draft', 'found').label.lines).toEqual(['report', 'inspect'])
  })
  it('marks_what_goes_back_and_ends_its_line_at_the_earlier_state', () => {
    expect(picture.lines.filter((l) => l.back).map((l) => l.from)).toEqual(['checked'])
    const ends = line('checked', 'treating').path.match(/,([\d.]+)$/)!
    expect(Number(ends[1])).toBeCloseTo(box('treating').y + box('treating').height / 2, 0)
  })
  it('writes_staying_into_the_state', () => expect(box('treating').stays).toEqual(['↻ amend']))
  it('lets_nothing_overlap', () => {
    const things = [...picture.boxes, ...picture.lines.map((l) => l.label)]
    for (const [i, a] of things.entries())
      for (const b of things.slice(i + 1)) {
        const apart = Math.abs(a.x - b.x) >= (a.width + b.width) / 2 || Math.abs(a.y - b.y) >= (a.height + b.height) / 2
        expect(apart).toBe(true)
      }
    for (const t of things) expect(t.x - t.width / 2 >= 0 && t.x + t.width / 2 <= picture.width && t.y + t.height / 2 <= picture.height).toBe(true)
  })
  it('takes_circles_lonely_states_and_words_that_name_nothing', () => {
    const odd = layout([{ id: 'a', name: 'a' }, { id: 'b', name: 'b' }, { id: 'c', name: 'c' }], [{ id: 'x', name: 'x', from: ['b', 'gone'], to: 'a' }, { id: 'y', name: 'y', from: ['a'], to: 'b' }], 'a')
    expect(odd.boxes).toHaveLength(3)
    expect(odd.lines.map((l) => l.back)).toEqual([true, false])
    expect(layout([], [], 'a').boxes).toEqual([])
  })
})

it('spreads_as_near_to_the_wish_as_order_and_distance_allow', () => {
  expect(spread([0, 100], [10])).toEqual([0, 100])
  expect(spread([5, 5, 5], [10, 10])).toEqual([-5, 5, 15])
  expect(spread([20, 0], [10])).toEqual([5, 15])
  expect(spread([20, 0], [10], [3, 1])).toEqual([12.5, 22.5])
})
