import { describe, expect, it } from 'vitest'
import { metOf, percent, width } from './networking'

describe('figures of the network', () => {
  it('are_never_rounded_up_to_all', () => {
    expect(percent(null)).toBe('—')
    expect(percent(0)).toBe('0.0%')
    expect(percent(0.9)).toBe('90.0%')
    expect(percent(0.29)).toBe('29.0%')
    expect(percent(999_999 / 1_000_000)).toBe('99.9%')
    expect(percent(1)).toBe('100.0%')
  })
  it('have_a_length_within_their_bar', () => {
    expect(width(null)).toBe('0%')
    expect(width(0.25)).toBe('25%')
    expect(width(1.5)).toBe('100%')
  })
  it('say_in_a_word_whether_a_target_is_met', () => {
    expect([true, false, null].map((met) => metOf({ met }))).toEqual(['met', 'missed', 'none'])
  })
})
