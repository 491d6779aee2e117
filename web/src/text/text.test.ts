import { describe, expect, it } from 'vitest'
import { count, reading } from './number'
import { age, dateTime, dayStart, fromLocalInput, instant, shanghaiDate, toLocalInput } from './time'

describe('time', () => {
  it('is_shanghai_and_24_hours', () => {
    expect(dateTime(Date.parse('2026-11-23T17:16:22.125Z'))).toBe('2026-11-24 01:16:22')
    expect(dateTime(Date.parse('2026-11-23T16:00:00Z'))).toBe('2026-11-24 00:00:00')
  })
  it('reads_and_writes_the_local_input_in_shanghai', () => {
    const ms = fromLocalInput('2026-11-24T01:16')
    expect(ms).toBe(Date.parse('2026-11-23T17:16:00Z'))
    expect(toLocalInput(ms!)).toBe('2026-11-24T01:16')
    expect(dayStart('2026-11-24')).toBe(Date.parse('2026-11-23T16:00:00Z'))
  })
  it('gives_charts_a_date_whose_local_getters_read_shanghai', () => {
    const d = shanghaiDate(Date.parse('2026-11-23T17:16:22Z') / 1000)
    expect([d.getDate(), d.getHours(), d.getMinutes()]).toEqual([24, 1, 16])
  })
  it('says_ages_in_one_unit', () => {
    expect(age(59_999)).toEqual({ n: 59, unit: 's' })
    expect(age(720_000)).toEqual({ n: 12, unit: 'min' })
    expect(age(-5)).toEqual({ n: 0, unit: 's' })
  })
  it('has_no_time_for_nothing_or_nonsense', () => {
    expect(instant(null)).toBeNull()
    expect(instant('yesterday')).toBeNull()
  })
})

describe('numbers', () => {
  const check = (value: number | null, shown: string) => expect(reading(value)).toBe(shown)
  it('shows_a_dash_and_never_zero_for_the_unknown', () => {
    check(null, '—')
    check(Number.NaN, '—')
    check(0, '0')
  })
  it('keeps_what_matters', () => {
    check(12.3, '12.3')
    check(0.1 + 0.2, '0.3')
    check(1234567.8, '1234568')
    check(0.00001234, '1.234e-5')
  })
  it('separates_thousands', () => expect(count(12345)).toBe('12,345'))
})
