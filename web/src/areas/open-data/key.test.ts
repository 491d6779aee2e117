import { describe, expect, it } from 'vitest'
import { bodyOf, boundsText, freshKey, wrongOf } from './key'

describe('a key of open data', () => {
  it('is offered for a year', () => {
    expect(freshKey('2026-11-30').valid_until).toBe('2027-11-30')
    expect(freshKey('2028-02-29').valid_until).toBe('2029-02-28')
  })
  it('needs a name, a holder, a dataset, limits and a last day', () => {
    const d = freshKey('2026-11-30')
    expect(wrongOf(d)).toEqual(['name', 'holder'])
    expect(wrongOf({ ...d, name: 'a', holder: ' b ', datasets: [], per_minute: '', per_day: 5_000_001, valid_until: '' })).toEqual(['datasets', 'per_minute', 'per_day', 'valid_until'])
    expect(wrongOf({ ...d, name: 'a', holder: 'b' })).toEqual([])
    expect(wrongOf({ ...d, name: 'a', holder: 'b', per_minute: 1.5 })).toEqual(['per_minute'])
  })
  it('for one enterprise has no other bounds', () => {
    const d = { ...freshKey('2026-11-30'), name: ' a ', holder: 'b', region: '5304', sector: 'gas' }
    expect(bodyOf(d)).toMatchObject({ name: 'a', region: '5304', sector: 'gas', enterprise: null })
    expect(bodyOf({ ...d, enterprise: '7' })).toMatchObject({ region: null, sector: null, enterprise: '7' })
  })
  it('says its bounds, widest first', () => {
    const words = { region: (c: string) => `r${c}`, sector: (s: string) => `s${s}`, enterprise: (e: string) => `e${e}`, whole: 'all' }
    expect(boundsText({ region: '53', sector: 'gas', enterprise: null }, words)).toBe('r53 × sgas')
    expect(boundsText({ region: null, sector: null, enterprise: null }, words)).toBe('all')
  })
})
