import { describe, expect, it } from 'vitest'
import { formItems } from '@/areas/register/kind'
import { KIND } from '@/areas/register/fixture'
import { ORDER_SIGNS, type OrderWord, orderWord, sendable, stepsOf, unsendable } from './order'

const step = (id: string) => formItems(KIND, KIND.transitions.find((x) => x.id === id)!)

describe('orders', () => {
  it('stand_otherwise_for_who_gave_them_and_who_is_to_do_them', () => {
    const word = (state: string, direction: string, confirmed: boolean) => orderWord({ state, direction, confirmed })
    expect(word('sent', 'sent', false)).toBe('sent')
    expect(word('received', 'sent', true)).toBe('arrived')
    expect(word('received', 'passing', true)).toBe('arrived')
    expect(word('received', 'received', true)).toBe('waiting')
    expect(word('answered', 'sent', true)).toBe('answered')
    expect(word('refused', 'received', true)).toBe('refused')
  })
  it('that_were_taken_back_are_so_once_the_other_side_says_it', () => {
    expect(orderWord({ state: 'withdrawn', direction: 'sent', confirmed: false })).toBe('withdrawing')
    expect(orderWord({ state: 'withdrawn', direction: 'sent', confirmed: true })).toBe('withdrawn')
    expect(orderWord({ state: 'withdrawn', direction: 'received', confirmed: true })).toBe('withdrawn')
  })
  it('have_a_sign_for_each_word', () => {
    const words: OrderWord[] = ['sent', 'arrived', 'waiting', 'done', 'refused', 'answered', 'withdrawn', 'withdrawing']
    expect(words.filter((word) => !ORDER_SIGNS[word])).toEqual([])
  })
  it('carry_nothing_that_is_known_here_alone', () => {
    expect(sendable(step('report')).map((i) => i.field.id)).toEqual(['what', 'level', 'place', 'items'])
    expect(unsendable(step('report'))).toEqual([])
    expect(sendable(step('assign')).map((i) => i.field.id)).toEqual(['what', 'due_on', 'funds'])
    expect(unsendable(step('assign')).map((i) => i.field.id)).toEqual(['responsible'])
  })
  it('ask_a_record_there_for_the_steps_of_a_regulator_alone', () => {
    const [first, ...others] = KIND.transitions
    const kind = { ...KIND, transitions: [{ ...first!, who: ['supervisor', 'safety_manager'] }, ...others] }
    const state = first!.from[0]!
    expect(stepsOf(kind, state, ['supervisor']).map((s) => s.id)).toEqual([first!.id])
    expect(stepsOf(kind, state, ['safety_manager'])).toEqual([])
    expect(stepsOf(kind, 'nowhere', ['supervisor'])).toEqual([])
  })
})
