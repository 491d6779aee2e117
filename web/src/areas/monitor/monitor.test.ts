import { describe, expect, it } from 'vitest'
import { limitProblems } from './limits'
import { stepFor, stepsWithGaps, windows, withGaps } from './series'

describe('series', () => {
  it('draws_a_silence_as_a_gap', () => {
    const { xs, ys } = withGaps([{ at: 0, value: 1 }, { at: 10_000, value: 2 }, { at: 100_000, value: 3 }], 10)
    expect(ys).toEqual([1, 2, null, 3])
    expect(xs).toEqual([0, 10, 10.001, 100])
  })
  it('keeps_a_bad_reading_as_a_hole', () => expect(withGaps([{ at: 0, value: 1 }, { at: 1000, value: null }], 1).ys).toEqual([1, null]))
  it('puts_late_readings_in_their_place', () => expect(withGaps([{ at: 2000, value: 2 }, { at: 1000, value: 1 }], 1).xs).toEqual([1, 2]))
  it('leaves_a_missing_step_empty', () => {
    const row = (at: number) => ({ at, min: 1, max: 2, mean: 1.5 })
    expect(stepsWithGaps([row(0), row(60_000), row(240_000)], 60).mean).toEqual([1.5, 1.5, null, 1.5])
  })
  it('reads_windows_out_of_columns', () => {
    const columns = { at_us: [60_000_000, 120_000_000], min: [1, 2], max: [3, 4], mean: [2, 3], count: [6, 5] }
    expect(windows(columns)[1]).toEqual({ at: 120_000, min: 2, max: 4, mean: 3, count: 5 })
  })
  it('goes_down_to_raw_readings_when_zoomed_in', () => {
    const HOUR = 3600_000
    expect(stepFor(HOUR, 1)).toBe('raw')
    expect(stepFor(24 * HOUR, 1)).toBe('60s')
    expect(stepFor(24 * HOUR, 60)).toBe('raw')
    expect(stepFor(7 * 24 * HOUR, 1)).toBe('1h')
    expect(stepFor(400 * 24 * HOUR, 60)).toBe('1d')
  })
})

describe('limits', () => {
  it('stand_in_order', () => {
    expect(limitProblems({ ll: 1, l: 2, h: 3, hh: 4 })).toEqual([])
    expect(limitProblems({ h: 50, hh: 25 })).toEqual([{ field: 'hh', code: 'order' }])
    expect(limitProblems({ l: 5, hh: 5 })).toEqual([{ field: 'hh', code: 'order' }])
  })
  it('have_no_negative_delays', () => expect(limitProblems({ on_delay_s: -1 })).toEqual([{ field: 'on_delay_s', code: 'negative' }]))
})
