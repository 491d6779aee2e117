// Whether a refused sign-in is about the second factor: the password was right, a code is missing or was not good.
import { ApiError } from '@/api/client'

export const asksForCode = (error: unknown) => error instanceof ApiError && (error.code === 'sign_in.code_needed' || error.code === 'sign_in.code_wrong')
