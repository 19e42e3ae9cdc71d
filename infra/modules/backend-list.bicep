// Joins the backends of several accounts. It makes no resources.
import { backend } from '../types.bicep'

@description('The backends of each account.')
param lists backend[][]

@description('All backends.')
output backends backend[] = flatten(lists)
