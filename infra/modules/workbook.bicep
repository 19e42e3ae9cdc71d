// The workbook of one gateway: tokens, dollars, limits, backends, latency and books.
import { tagSet } from '../types.bicep'

@description('Title of the workbook.')
param name string = 'Gateway'

@description('Region.')
param location string

@description('Tags.')
param tags tagSet

@description('Resource id of Application Insights, in whose menu the workbook stands.')
param applicationInsightsId string

@description('Resource id of the workspace that has the logs.')
param workspaceId string

var content = loadTextContent('../monitoring/workbook.json')

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, applicationInsightsId, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: name
    category: 'workbook'
    version: 'Notebook/1.0'
    sourceId: applicationInsightsId
    serializedData: replace(
      replace(content, 'APPLICATION_INSIGHTS_ID', applicationInsightsId),
      'WORKSPACE_ID',
      workspaceId
    )
  }
}

@description('Resource id of the workbook.')
output id string = workbook.id
