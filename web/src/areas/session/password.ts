// What a password needs before it is sent; the server judges again.
export const PASSWORD_MIN = 10
export function passwordProblem(password: string): 'short' | null {
  return [...password].length < PASSWORD_MIN ? 'short' : null
}
