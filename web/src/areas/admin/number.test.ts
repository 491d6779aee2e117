import { expect, it } from 'vitest'
import { parseNumber } from './number'

const check = (text: string, value: number | null | 'wrong') => expect(parseNumber(text)).toBe(value)
it('reads_numbers_and_refuses_to_guess', () => {
  check('', null)
  check(' 25.5 ', 25.5)
  check('-.5', -0.5)
  check('1e3', 1000)
  check('1,5', 'wrong')
  check('２５', 'wrong')
  check('25%', 'wrong')
  check('1e999', 'wrong')
  check('0x10', 'wrong')
})
