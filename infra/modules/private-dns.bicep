// Private DNS zones: those that exist are used, the others are made and linked to the network.
import { tagSet, zoneIdSet } from '../types.bicep'

@description('Names of the zones that private endpoints need.')
param zoneNames string[]

@description('Zones that exist, such as those of a hub.')
param existingZoneIds zoneIdSet

@description('Resource id of the network whose names the new zones resolve.')
param networkId string

@description('Tags.')
param tags tagSet

var newZoneNames = filter(zoneNames, zone => !contains(existingZoneIds, zone))

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for zone in newZoneNames: {
    name: zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (zone, index) in newZoneNames: {
    parent: zones[index]
    name: 'link-${uniqueString(networkId)}'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: networkId }
    }
  }
]

@description('Resource ids of all zones, by name.')
output zoneIds zoneIdSet = toObject(
  zoneNames,
  zone => zone,
  zone => (existingZoneIds[?zone] ?? resourceId('Microsoft.Network/privateDnsZones', zone))
)
