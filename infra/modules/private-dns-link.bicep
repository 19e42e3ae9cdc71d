// Links a zone that exists to a network. Deploy it to the resource group of the zone.
import { tagSet } from '../types.bicep'

@description('Name of the zone.')
param zoneName string

@description('Resource id of the network.')
param networkId string

@description('Tags.')
param tags tagSet

resource zone 'Microsoft.Network/privateDnsZones@2024-06-01' existing = {
  name: zoneName
}

resource link 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = {
  parent: zone
  name: 'link-${uniqueString(networkId)}'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: { id: networkId }
  }
}
